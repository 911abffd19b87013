"""The whole service as a process: upload, search, cite, delete, die, and be there again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.fakes.processes import ServiceProcess

PATIENCE_S = 60.0
RIVERS = """# Rivers

The Danube rises in the Black Forest. It flows through ten countries.

## Mouth

The Danube ends in the Black Sea. Its delta is a home of pelicans.
"""
TEA = "绿茶产于杭州。泡茶的水不能太热。龙井是一种绿茶。"


def upload(service: ServiceProcess, *files: tuple[str, bytes]) -> str:
    answer = service.client.post("/v1/documents", files=[("files", file) for file in files])
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def sources_of(service: ServiceProcess, query: str) -> list[str]:
    found = service.client.post("/v1/search", json={"query": query}).json()
    return [result["source"] for result in found["results"]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def service(home: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(home) as started:
        yield started


def test_upload_search_cite_delete_restart(service: ServiceProcess, home: Path) -> None:
    client = service.client
    assert client.get("/ready").status_code == 200
    assert client.post("/v1/search", json={"query": "Danube"}).json()["results"] == []

    files = [("rivers.md", RIVERS.encode()), ("茶.txt", TEA.encode()), ("broken.pdf", b"%PDF-1.7 no")]
    job = service.job_end(upload(service, *files))
    assert (job["state"], job["total"], job["done"], job["failed"]) == ("partial", 3, 2, 1)
    assert [error["source"] for error in job["errors"]] == ["upload:broken.pdf"]
    body = {
        "documents": [{"doc_id": "notes/一 1?", "title": "Notes", "text": "The Rhine rises in the Alps."}]
    }
    sent = client.post("/v1/documents", json=body).json()
    assert service.job_end(sent["job_id"])["state"] == "succeeded"

    for query, source in (
        ("Where does the Danube end?", "upload:rivers.md"),
        ("龙井", "upload:茶.txt"),
        ("Where does the Rhine rise?", "document:notes/一 1?"),
    ):
        assert sources_of(service, query)[0] == source

    answer = client.post("/v1/query", json={"query": "Where does the Danube end?"}).json()
    assert answer["kind"] == "extractive"
    assert answer["citations"][0]["quote"] == "The Danube ends in the Black Sea."
    check_offsets(client, answer)
    check_offsets(client, client.post("/v1/query", json={"query": "绿茶"}).json())
    found = client.post(
        "/v1/search", json={"query": "pelicans", "filter": {"section": {"prefix": "Rivers > Mouth"}}}
    )
    assert [result["section"] for result in found.json()["results"]] == ["Rivers > Mouth"]
    assert client.get("/v1/collection").json()["documents"] == 3

    doc_id = client.get("/v1/documents").json()["documents"][-1]["doc_id"]
    assert doc_id == "notes/一 1?"
    assert client.delete(f"/v1/documents/{quote(doc_id, safe='')}").json()["deleted"] is True
    assert "document:notes/一 1?" not in sources_of(service, "Where does the Rhine rise?")

    assert service.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    with ServiceProcess(home) as again:
        assert sources_of(again, "Where does the Danube end?")[0] == "upload:rivers.md"
        assert again.client.get("/v1/collection").json()["documents"] == 2
        assert again.client.get(f"/v1/jobs/{sent['job_id']}").json()["state"] == "succeeded"
    check_refusal_of_other_encoders(home)


def check_refusal_of_other_encoders(home: Path) -> None:
    """The service does not start, and says which command helps."""
    ended = subprocess.run(
        [sys.executable, "-m", "serving", "--port", "0", "--home", str(home)],
        env={**os.environ, "WINNOW_ENCODERS__BM25_B": "0.1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 2
    assert "python -m indexing" in ended.stderr
    assert "Traceback" not in ended.stderr


def check_offsets(client: httpx.Client, answer: dict[str, list[dict[str, object]]]) -> None:
    """Every quote, sentence and window equals the text that the service serves at its offsets."""
    assert answer["citations"]
    for citation in answer["citations"]:
        assert text_at(client, citation, "start", "end") == citation["quote"]
    for result in answer["results"]:
        assert text_at(client, result, "start", "end") == result["text"]
        assert text_at(client, result, "window_start", "window_end") == result["window"]


def text_at(client: httpx.Client, place: dict[str, object], start: str, end: str) -> str:
    url = f"/v1/documents/{quote(str(place['doc_id']), safe='')}/text"
    return client.get(url, params={"start": str(place[start]), "end": str(place[end])}).text


def test_a_job_survives_sigkill_of_the_service(service: ServiceProcess, home: Path) -> None:
    many = [(f"{number}.txt", f"Document {number} speaks of topic{number}.".encode()) for number in range(40)]
    job_id = upload(service, *many)
    service.end(signal.SIGKILL)
    with ServiceProcess(home) as again:
        job = again.job_end(job_id)
        assert (job["state"], job["done"]) == ("succeeded", 40)
        assert sources_of(again, "topic17")[0] == "upload:17.txt"
        assert again.client.get("/v1/collection").json()["points"] == 40


def test_starting_imports_no_model_framework() -> None:
    script = (
        "import sys, json, serving.server, serving.state, indexing.encoders, indexing.collection.embedded, "
        "retrieval.search, retrieval.answer, indexing.session\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    heavy = {"torch", "transformers", "sentence_transformers", "llama_index", "qdrant_client", "qdrant_edge"}
    assert heavy & set(json.loads(ended.stdout)) == set()
