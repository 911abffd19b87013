"""/v1/documents: uploads are durable and bounded, ids may hold anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from indexing.ingest import TextItem, add_texts
from indexing.records import Extraction
from tests.fakes.index_parts import fake_index, fake_settings
from tests.fakes.service import DOCUMENTS, Harness, client_of, make_harness

pytestmark = pytest.mark.anyio


def stored(home: Path) -> dict[str, bytes]:
    root = home / "uploads"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def url_of(doc_id: str) -> str:
    return f"/v1/documents/{quote(doc_id, safe='')}"


@pytest.mark.parametrize("doc_id", list(DOCUMENTS))
async def test_ids_of_any_characters(client: httpx.AsyncClient, doc_id: str) -> None:
    text = DOCUMENTS[doc_id]
    record = (await client.get(url_of(doc_id))).json()
    assert (record["doc_id"], record["chars"]) == (doc_id, len(text))
    assert (await client.get(url_of(doc_id) + "/text")).text == text
    listed = (await client.get(url_of(doc_id) + "/sentences")).json()
    for sentence in listed["sentences"]:
        assert text[sentence["start"] : sentence["end"]].endswith((".", "。"))
    assert listed["total"] == len(listed["sentences"]) == record["sentences"]
    assert (await client.delete(url_of(doc_id))).json() == {"doc_id": doc_id, "deleted": True}
    assert (await client.get(url_of(doc_id))).status_code == 404


async def test_bare_slashes_are_understood(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/documents/a/b%20c%3F.txt")).json()["doc_id"] == "a/b c?.txt"
    assert (await client.get("/v1/documents/a/b%20c%3F.txt/text")).text == DOCUMENTS["a/b c?.txt"]


async def test_text_slices_count_code_points(client: httpx.AsyncClient) -> None:
    url = url_of("目录/文件 1.txt") + "/text"
    answer = await client.get(url, params={"start": 2, "end": 4})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "文件"
    assert (await client.get(url, params={"start": -1})).status_code == 422
    again = await client.get(url, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_slice_of_the_real_catalogue_takes_numbers_of_any_size(
    harness: Harness, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """A number beyond the 64 bits of the database once ended in a 500."""
    text, beyond = DOCUMENTS["files"], 437957174147763707645526016
    item = TextItem("text:files", Extraction(text=text, doc_id="files"), "text/plain")
    with fake_index(fake_settings(tmp_path / "real")) as index:
        await asyncio.to_thread(add_texts, index, [item])
        harness.service.catalog = index.catalog
        for start, end in ((beyond, None), (2**63, beyond), (None, beyond), (5, beyond), (beyond, 5)):
            asked = {name: one for name, one in (("start", start), ("end", end)) if one is not None}
            answer = await client.get("/v1/documents/files/text", params=asked)
            assert (answer.status_code, answer.text) == (200, text[start:end])
        page = await client.get("/v1/documents/files/sentences", params={"first": beyond})
        assert (page.status_code, page.json()["sentences"]) == (200, [])


async def test_the_list_is_paged(client: httpx.AsyncClient) -> None:
    found: list[str] = []
    after = None
    for _ in range(3):
        page = (
            await client.get("/v1/documents", params={"limit": 2, **({"after": after} if after else {})})
        ).json()
        found += [row["doc_id"] for row in page["documents"]]
        after = page["next"]
        assert page["total"] == len(DOCUMENTS)
    assert found == sorted(DOCUMENTS)
    assert after is None


async def test_sentences_are_paged(client: httpx.AsyncClient) -> None:
    first = (await client.get(url_of("files") + "/sentences", params={"limit": 1})).json()
    assert ([row["ordinal"] for row in first["sentences"]], first["next"]) == ([0], 1)
    second = (await client.get(url_of("files") + "/sentences", params={"limit": 1, "first": 1})).json()
    assert ([row["ordinal"] for row in second["sentences"]], second["next"]) == ([1], None)


async def test_what_is_not_there_is_a_404(client: httpx.AsyncClient) -> None:
    for path in (
        "/v1/documents/nothing",
        "/v1/documents/nothing/text",
        "/v1/documents/nothing/sentences",
        "/v1/jobs/x",
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "not-found")
    assert (await client.delete("/v1/documents/nothing")).status_code == 404


async def test_files_are_stored_before_the_answer(client: httpx.AsyncClient, harness: Harness) -> None:
    big = bytes(range(256)) * 2000  # holds every byte, line ends included
    files = [
        ("files", ("報告 1.pdf", big, "application/pdf")),
        ("files", ("../../etc/passwd", b"x", "text/plain")),
        ("files", ("same.txt", b"one", "text/plain")),
        ("files", ("same.txt", b"two", "text/plain")),
    ]
    answer = await client.post("/v1/documents", files=files, data={"note": "a field that is no file"})
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert list(answer.json()) == ["job_id"]
    assert stored(harness.settings.home) == {
        f"{job_id}/0000/報告 1.pdf": big,
        f"{job_id}/0001/passwd": b"x",
        f"{job_id}/0002/same.txt": b"one",
        f"{job_id}/0003/same.txt": b"two",
    }
    job = harness.catalog.job_rows[job_id]
    assert (job.kind, job.total, job.state) == ("files", 4, "queued")
    assert harness.catalog.payloads[job_id]["files"][0] == {
        "path": f"uploads/{job_id}/0000/報告 1.pdf",
        "name": "報告 1.pdf",
    }
    assert (await client.get("/v1/jobs")).json()["jobs"][0]["id"] == job_id


async def test_json_documents_become_json_lines(client: httpx.AsyncClient, harness: Harness) -> None:
    documents = [
        {"doc_id": "a/b", "title": "T", "text": "First.\nSecond.", "metadata": {"year": 2024}},
        {"text": "没有 id 的文档。"},
    ]
    answer = await client.post("/v1/documents", json={"documents": documents})
    ((name, data),) = stored(harness.settings.home).items()
    job_id = answer.json()["job_id"]
    assert name == f"{job_id}/0000/documents.jsonl"
    assert harness.catalog.payloads[job_id] == {"path": f"uploads/{name}"}
    assert (harness.catalog.job_rows[job_id].kind, harness.catalog.job_rows[job_id].total) == ("documents", 2)
    first, second = (json.loads(line) for line in data.decode().splitlines())
    assert first == {"_id": "a/b", "title": "T", "text": "First.\nSecond.", "year": 2024}
    assert (len(second["_id"]), second["text"]) == (32, "没有 id 的文档。")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"documents": []}, 422),
        ({"documents": [{"doc_id": "a", "text": ""}]}, 422),
        ({"documents": [{"text": "a", "extra": 1}]}, 422),
        ({"documents": [{"doc_id": "a", "text": "a"}, {"doc_id": "a", "text": "b"}]}, 400),
        ({"documents": [{"text": "a", "metadata": {"_id": "b"}}]}, 400),
        ({"documents": [{"text": "a", "metadata": {"nested": {}}}]}, 422),
    ],
)
async def test_wrong_documents_leave_nothing_behind(
    client: httpx.AsyncClient, harness: Harness, body: object, status: int
) -> None:
    answer = await client.post("/v1/documents", json=body)
    assert answer.status_code == status
    assert stored(harness.settings.home) == {}
    assert harness.catalog.job_rows == {}


def form(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end


PART = b'Content-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\ntext'
MULTIPART = {"content-type": "multipart/form-data; boundary=B"}


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (form(PART), {"content-type": "multipart/form-data"}, 400),
        (form(PART), {"content-type": "text/plain"}, 400),
        (form(PART, end=b""), MULTIPART, 400),
        (form(PART)[:-20], MULTIPART, 400),
        (b"nonsense", MULTIPART, 400),
        (b"--B--\r\n", MULTIPART, 400),
        (form(b'Content-Disposition: form-data; name="files"; filename=""\r\n\r\n'), MULTIPART, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (form(PART), MULTIPART, 202),
    ],
)
async def test_wrong_forms_leave_nothing_behind(
    client: httpx.AsyncClient, harness: Harness, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/v1/documents", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert len(stored(harness.settings.home)) == len(harness.catalog.job_rows) == (status == 202)


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
async def test_any_chunking_gives_the_same_files(
    client: httpx.AsyncClient, harness: Harness, size: int
) -> None:
    data = b"--B\r\n--B-\r\n\r\n--" * 40
    content = form(PART + b"\r\n--Bogus", PART.replace(b"a.txt", b"b.txt") + data)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(content), size):
            yield content[at : at + size]

    # The second part's data holds the boundary itself: the form ends there.
    answer = await client.post("/v1/documents", content=chunks(), headers=MULTIPART)
    assert answer.status_code in (202, 400)
    plain = form(PART + b"\r\n--Bo", PART.replace(b"a.txt", b"b.txt") + b"\r\n-B\r\n" * 100)

    async def plain_chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(plain), size):
            yield plain[at : at + size]

    answer = await client.post("/v1/documents", content=plain_chunks(), headers=MULTIPART)
    job_id = answer.json()["job_id"]
    found = stored(harness.settings.home)
    assert found[f"{job_id}/0000/a.txt"] == b"text\r\n--Bo"
    assert found[f"{job_id}/0001/b.txt"] == b"text" + b"\r\n-B\r\n" * 100


async def test_limits_before_and_while_reading(tmp_path: Path) -> None:
    harness = await make_harness(tmp_path, max_upload_mb=0.01, max_json_mb=0.002, upload_idle_s=0.05)

    async def endless() -> AsyncIterator[bytes]:
        yield b"--B\r\n" + PART
        for _ in range(100):
            yield b"x" * 1000

    async def stalled() -> AsyncIterator[bytes]:
        yield b"--B\r\n" + PART
        await asyncio.sleep(5)

    async with client_of(harness) as client:
        declared = await client.post("/v1/documents", content=b"x" * 20_000, headers=MULTIPART)
        chunked = await client.post("/v1/documents", content=endless(), headers=MULTIPART)
        large_json = await client.post("/v1/documents", json={"documents": [{"text": "x" * 3000}]})
        stall = await client.post("/v1/documents", content=stalled(), headers=MULTIPART)
    assert [one.status_code for one in (declared, chunked, large_json, stall)] == [413, 413, 413, 408]
    assert stored(tmp_path) == {}
    assert list((tmp_path / "uploads").iterdir()) == []
    await harness.close()


async def test_a_full_disk_is_said(
    client: httpx.AsyncClient, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    answer = await client.post("/v1/documents", files={"files": ("a.txt", b"x")})
    assert (answer.status_code, answer.json()["type"]) == (507, "storage")
    assert stored(harness.settings.home) == {}
