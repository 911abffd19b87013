"""No path outside the root, no URL that is not allowed: what a request can name."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.fakes.service import Harness, client_of, make_harness

pytestmark = pytest.mark.anyio

HOSTILE_NAMES = [
    "../../../../etc/cron.d/evil.txt",
    "..\\..\\..\\evil.txt",
    "/etc/passwd",
    "C:\\Windows\\evil.txt",
    "..",
    "....//....//evil.txt",
    "a/../../evil.txt",
    "\u2025/evil.txt",
    "%2e%2e%2fevil.txt",
    "evil.txt\u0000.pdf",
    "~root/evil.txt",
    ".ssh/authorized_keys",
    "x" * 5000 + ".txt",
]


async def test_an_upload_stays_below_its_folder_whatever_it_is_called(tmp_path: Path) -> None:
    home = tmp_path / "root" / "home"
    before = files_below(tmp_path)
    harness = await make_harness(home)
    async with client_of(harness) as client:
        for name in HOSTILE_NAMES:
            boundary = "b"
            disposition = f'form-data; name="files"; filename="{name}"'.replace("\\", "\\\\")
            body = (
                f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\nharm\r\n--{boundary}--\r\n"
            ).encode()
            answer = await client.post(
                "/v1/documents",
                content=body,
                headers={"content-type": f"multipart/form-data; boundary={boundary}"},
            )
            assert answer.status_code in (202, 400), name
    await harness.close()
    made = files_below(tmp_path) - before
    assert made
    for path in made:
        assert path.resolve().is_relative_to(home)
    harmful = [path for path in made if path.read_bytes() == b"harm"]
    assert len(harmful) >= len(HOSTILE_NAMES) - 2
    for path in harmful:
        relative = path.relative_to(home / "uploads")
        assert len(relative.parts) == 3, "uploads/<job>/<number>/<name>"
        assert len(path.name.encode()) <= 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/..%5c..%5cetc%5cpasswd",
        "/static//etc/passwd",
        "/static/%00",
        "/v1/documents/..%2F..%2F..%2Fetc%2Fpasswd/text",
        "/v1/documents/%2Fetc%2Fpasswd/text",
        "/v1/documents/file%3A%2F%2F%2Fetc%2Fpasswd",
        "/v1/jobs/..%2F..%2Faccess.db",
        "/v1/conversations/..%2F..%2Faccess.db",
    ],
)
async def test_no_route_reads_a_file_by_its_path(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code in (400, 404, 422), answer.text
    assert "root:x:0" not in answer.text


async def test_urls_are_refused_unless_their_host_is_named(tmp_path: Path) -> None:
    harness = await make_harness(tmp_path)
    async with client_of(harness) as client:
        for url in ("https://docs.test/", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"):
            answer = await client.post("/v1/documents", json={"urls": [url]})
            assert (answer.status_code, answer.json()["type"]) == (403, "fetch-refused")
            assert "fetch.allowed_hosts" in answer.json()["detail"]
    assert kept(harness, tmp_path) == []
    await harness.close()


async def test_allowed_urls_are_queued_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_FETCH__ALLOWED_HOSTS", '["docs.test"]')
    monkeypatch.setenv("WINNOW_FETCH__MAX_URLS", "2")
    harness = await make_harness(tmp_path)
    allowed = "https://docs.test/a.html"
    async with client_of(harness) as client:
        for body, status in [
            ({"urls": [allowed, "https://evil.test/"]}, 403),
            ({"urls": ["https://user:secret@docs.test/"]}, 403),
            ({"urls": [allowed] * 3}, 422),
            ({"urls": [allowed], "documents": [{"text": "x"}]}, 422),
            ({"urls": []}, 422),
            ({}, 422),
            ({"urls": [7]}, 422),
        ]:
            answer = await client.post("/v1/documents", json=body)
            assert answer.status_code == status, (body, answer.text)
            assert "secret" not in json.dumps(answer.json())
        assert kept(harness, tmp_path) == []
        answer = await client.post("/v1/documents", json={"urls": [allowed]})
        assert answer.status_code == 202
        job = (await client.get(f"/v1/jobs/{answer.json()['job_id']}")).json()
        assert (job["kind"], job["total"]) == ("urls", 1)
    await harness.close()


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def kept(harness: Harness, home: Path) -> list[object]:
    """Jobs that were queued and files that were stored."""
    return [*harness.catalog.jobs("default", 100), *files_below(home / "uploads")]
