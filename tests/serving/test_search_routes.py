"""POST /v1/search and /v1/query: the JSON contract, the stream, the errors."""

from __future__ import annotations

import json
import logging

import httpx
import pytest

from indexing.errors import EncoderError
from tests.fakes.service import DOCUMENTS, Harness

pytestmark = pytest.mark.anyio

RESULT_FIELDS = [
    "id",
    "doc_id",
    "source",
    "title",
    "section",
    "page",
    "text",
    "window",
    "start",
    "end",
    "score",
]


async def test_search_has_the_contract_s_fields_in_order(client: httpx.AsyncClient) -> None:
    body = {
        "query": "close the file",
        "mode": "hybrid",
        "top_k": 20,
        "top_n": 2,
        "filter": {"page": 1},
        "rerank": False,
    }
    answer = await client.post("/v1/search", json=body)
    assert answer.status_code == 200
    found = answer.json()
    assert list(found) == ["results", "receipt"]
    assert len(found["results"]) == 2
    first = found["results"][0]
    assert list(first)[: len(RESULT_FIELDS) + 1] == [*RESULT_FIELDS, "ranks"]
    assert list(first["ranks"]) == ["dense", "sparse", "fused", "rerank"]
    assert first["doc_id"] == "files"
    assert (
        DOCUMENTS["files"][first["start"] : first["end"]]
        == first["text"]
        == "Close the file when you are done."
    )
    assert found["receipt"]["stages"][0] == {"name": "embed", "ms": 1.25, "terms": 3}
    assert found["receipt"]["degraded"] == []


async def test_every_option_reaches_the_searcher(client: httpx.AsyncClient, harness: Harness) -> None:
    options = {
        "mode": "sparse",
        "top_k": 7,
        "top_n": 3,
        "filter": {"section": {"prefix": "a"}},
        "rerank": True,
        "window_size": 0,
        "fusion": "dbsf",
    }
    await client.post("/v1/search", json={"query": "file", **options})
    asked = harness.searcher.requests[-1]
    assert {name: getattr(asked, name) for name in options} == options
    assert (asked.query, asked.tenant) == ("file", "default")


async def test_query_quotes_and_cites(client: httpx.AsyncClient) -> None:
    found = (await client.post("/v1/query", json={"query": "close the file", "max_sentences": 1})).json()
    assert list(found)[:4] == ["answer", "citations", "results", "receipt"]
    assert found["kind"] == "extractive"
    (citation,) = found["citations"]
    assert list(citation) == ["label", "doc_id", "source", "page", "start", "end", "quote"]
    assert DOCUMENTS[citation["doc_id"]][citation["start"] : citation["end"]] == citation["quote"]
    assert citation["label"] in found["answer"]
    assert found["receipt"]["stages"][-1]["name"] == "answer"


async def test_query_without_results_says_so(client: httpx.AsyncClient) -> None:
    found = (await client.post("/v1/query", json={"query": "zzz"})).json()
    assert (found["kind"], found["citations"], found["results"]) == ("none", [], [])


def events(text: str) -> list[tuple[str, object]]:
    parsed = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        parsed.append((lines["event"], json.loads(lines["data"])))
    return parsed


async def test_the_stream_carries_the_same_answer(client: httpx.AsyncClient) -> None:
    plain = (await client.post("/v1/query", json={"query": "close the file"})).json()
    streamed = await client.post("/v1/query", json={"query": "close the file", "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    found = events(streamed.text)
    names = [name for name, _ in found]
    assert names == ["stage"] * 2 + ["results", "stage", "answer", "citations", "done"]
    by_name = dict(found)
    assert by_name["results"] == plain["results"]
    assert by_name["citations"] == plain["citations"]
    assert by_name["answer"] == {"text": plain["answer"], "kind": "extractive", "restart": False}
    assert by_name["done"] == {
        "request_id": streamed.headers["x-request-id"],
        "degraded": [],
        "answer": plain["answer"],
        "kind": "extractive",
        "conversation_id": None,
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": ""}, "query"),
        ({}, "query"),
        ({"query": "a", "top_n": 0}, "top_n"),
        ({"query": "a", "mode": "both"}, "mode"),
        ({"query": "a", "topn": 3}, "topn"),
        ({"query": "a", "tenant": "other"}, "tenant"),
    ],
)
async def test_a_wrong_request_names_its_field(
    client: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    answer = await client.post("/v1/search", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem)[:5] == ["type", "title", "status", "detail", "request_id"]
    assert [item["field"] for item in problem["errors"]] == [field]


async def test_errors_of_ours_become_problems(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/search", json={"query": "  "})
    assert answer.status_code == 422
    assert answer.json() == {
        "type": "query",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "the query is empty: ask with at least one word",
        "request_id": answer.headers["x-request-id"],
    }


async def test_broken_json_and_a_large_body(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    broken = await client.post("/v1/search", content=b'{"query": ', headers=headers)
    assert (broken.status_code, broken.json()["type"]) == (400, "malformed-json")
    large = await client.post("/v1/search", json={"query": "a" * 300_000})
    assert (large.status_code, large.json()["status"]) == (413, 413)

    async def chunks() -> object:
        for _ in range(10):
            yield b" " * 50_000

    chunked = await client.post("/v1/search", content=chunks(), headers=headers)
    assert chunked.status_code == 413


async def test_a_failing_model_is_a_500_that_says_where_to_look(
    client: httpx.AsyncClient, harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.encoder.error = EncoderError("the model returned NaN")
    answer = await client.post("/v1/search", json={"query": "file"})
    assert (answer.status_code, answer.json()["type"]) == (500, "encoder")
    harness.encoder.error = ZeroDivisionError("secret detail")
    answer = await client.post("/v1/search", json={"query": "file"}, headers={"x-request-id": "abc-1"})
    assert (answer.status_code, answer.json()["type"]) == (500, "internal-error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc-1"
    assert any("abc-1" in record.getMessage() and record.exc_info for record in caplog.records)


async def test_a_degraded_search_is_counted(client: httpx.AsyncClient, harness: Harness) -> None:
    harness.searcher.degraded = ("rerank: broken",)
    answer = await client.post("/v1/search", json={"query": "file"})
    assert answer.json()["receipt"]["degraded"] == ["rerank: broken"]
    assert "winnow_degraded_total 1.0" in (await client.get("/metrics")).text


async def test_the_text_of_a_query_is_logged_at_debug_only(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await client.post("/v1/search", json={"query": "verysecretword"})
    assert "verysecretword" not in caplog.text
    line = next(record.getMessage() for record in caplog.records if record.name == "serving.access")
    assert "route=/v1/search status=200" in line
    assert "results=0" in line
    with caplog.at_level(logging.DEBUG):
        await client.post("/v1/search", json={"query": "verysecretword"})
    assert "verysecretword" in caplog.text
