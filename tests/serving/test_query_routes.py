"""/v1/query with a language model, and conversations, over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexing.errors import GenerationTimeoutError, GenerationUnavailableError
from retrieval.generation.prompts import NOT_IN_DOCUMENTS
from retrieval.generation.protocol import GenerationRequest
from tests.fakes.scripted_generator import ScriptedGenerator
from tests.fakes.service import Harness, client_of, make_harness

pytestmark = pytest.mark.anyio
_PASSAGE = re.compile(r"<passage (\d+)>\n(.*?)\n</passage", re.DOTALL)


def answer(request: GenerationRequest) -> str:
    """Cite the passage that says how to open a file, under whatever label it has."""
    prompt = "\n".join(message.content for message in request.messages)
    label = next(label for label, text in _PASSAGE.findall(prompt) if "Open a file" in text)
    return f"Open a file with open [{label}]."


@pytest.fixture
def model() -> ScriptedGenerator:
    return ScriptedGenerator(answer)


@pytest.fixture
async def harness(tmp_path: Path, anyio_backend: str, model: ScriptedGenerator) -> AsyncIterator[Harness]:
    made = await make_harness(tmp_path, generator=model)
    yield made
    await made.close()


async def ask(client: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await client.post("/v1/query", json={"query": "how to open a file", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def events_of(client: httpx.AsyncClient, **body: object) -> list[tuple[str, Any]]:
    asked = {"query": "how to open a file", "stream": True, **body}
    answer = await client.post("/v1/query", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["event"], json.loads(fields["data"])))
    return found


async def test_a_written_answer_cites_its_documents_and_counts_tokens(client: httpx.AsyncClient) -> None:
    body = await ask(client)
    assert body["kind"] == "generated"
    [cite] = body["citations"]
    assert body["answer"] == f"Open a file with open {cite['label']}."
    assert cite["quote"] == "Open a file with open."
    text = (await client.get(f"/v1/documents/{cite['doc_id']}/text")).text
    assert text[cite["start"] : cite["end"]] == cite["quote"]
    assert body["usage"]["completion_tokens"] == 6
    assert [stage["name"] for stage in body["receipt"]["stages"]][-3:] == ["pack", "generate", "check"]
    metrics = (await client.get("/metrics")).text
    assert 'winnow_answers_total{kind="generated"} 1.0' in metrics
    assert "winnow_completion_tokens_total 6.0" in metrics


async def test_the_stream_tells_the_same_in_order(client: httpx.AsyncClient) -> None:
    whole = await ask(client)
    events = await events_of(client)
    names = [name for name, _ in events]
    assert names[-4:] == ["citations", "flaws", "usage", "done"]
    assert "".join(data["text"] for name, data in events if name == "answer") == whole["answer"]
    assert dict(events)["citations"] == whole["citations"]
    assert events[-1][1]["answer"] == whole["answer"]
    assert names.index("results") < names.index("passages") < names.index("answer")
    shown = {one["label"]: one for one in dict(events)["passages"]}
    for cite in whole["citations"]:
        passage = shown[cite["label"]]
        assert passage["doc_id"] == cite["doc_id"]
        assert passage["start"] <= cite["start"] < cite["end"] <= passage["end"]


async def test_what_does_not_hold_is_flagged(client: httpx.AsyncClient, model: ScriptedGenerator) -> None:
    model.reply = "Files are made of cheese [1]. See [77]."
    body = await ask(client)
    assert [flaw["kind"] for flaw in body["flaws"]] == ["unknown label", "not supported", "no label"]
    assert "[77]" not in body["answer"]


async def test_not_in_the_documents(client: httpx.AsyncClient, model: ScriptedGenerator) -> None:
    model.reply = NOT_IN_DOCUMENTS
    body = await ask(client)
    assert (body["kind"], body["citations"]) == ("none", [])


async def test_a_model_that_is_away_leaves_quotes_a_metric_and_a_check(
    client: httpx.AsyncClient, model: ScriptedGenerator
) -> None:
    model.reply = GenerationUnavailableError("nobody there")
    body = await ask(client)
    assert body["kind"] == "extractive"
    assert body["receipt"]["degraded"] == ["generate: nobody there"]
    assert "winnow_generation_failures_total 1.0" in (await client.get("/metrics")).text
    ready = await client.get("/ready")
    check = next(one for one in ready.json()["checks"] if one["name"] == "generation")
    assert (ready.status_code, check["ok"], check["required"]) == (200, False, False)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (GenerationUnavailableError("nobody"), 503, "generation-unavailable"),
        (GenerationTimeoutError("slow"), 504, "generation-timeout"),
    ],
)
async def test_without_a_fallback_the_failure_is_typed(
    tmp_path: Path, error: Exception, status: int, kind: str
) -> None:
    model = ScriptedGenerator(error)
    harness = await make_harness(tmp_path, generator=model, generation={"fallback": "none"})
    async with client_of(harness) as client:
        answer = await client.post("/v1/query", json={"query": "open a file"})
        assert (answer.status_code, answer.json()["type"]) == (status, kind)
        events = await events_of(client)
        assert events[-1][0] == "error"
        assert events[-1][1]["type"] == kind
    await harness.close()


async def test_a_conversation_goes_on_from_what_was_sent(
    client: httpx.AsyncClient, model: ScriptedGenerator
) -> None:
    made = await client.post("/v1/conversations", json={})
    assert made.status_code == 201
    known = made.json()["id"]
    await ask(client, conversation_id=known, rewrite=False)
    await events_of(client, conversation_id=known, rewrite=False, query="and to close it")
    first, second = (request.messages for request in model.requests)
    assert second[: len(first)] == first
    listed = (await client.get("/v1/conversations")).json()["conversations"]
    assert [(row["title"], row["turns"]) for row in listed] == [("how to open a file", 2)]
    turns = (await client.get(f"/v1/conversations/{known}")).json()["turns"]
    assert [turn["question"] for turn in turns] == ["how to open a file", "and to close it"]
    assert turns[0]["citations"][0]["quote"] == "Open a file with open."
    told = await ask(client, rewrite=False)
    evidence = turns[0]["evidence"]
    assert (evidence["results"], evidence["flaws"]) == (told["results"], told["flaws"])
    assert [one["name"] for one in evidence["receipt"]["stages"]] == [
        one["name"] for one in told["receipt"]["stages"]
    ]
    assert evidence["usage"]["prompt_tokens"] == told["usage"]["prompt_tokens"]
    assert (await client.delete(f"/v1/conversations/{known}")).json() == {"id": known, "deleted": True}
    for call in (
        client.get(f"/v1/conversations/{known}"),
        client.delete(f"/v1/conversations/{known}"),
        client.post("/v1/query", json={"query": "x", "conversation_id": known}),
    ):
        assert (await call).status_code == 404


async def test_the_collection_names_the_model_and_its_defaults(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/collection?facet_limit=0")).json()
    assert told["generation"] == {
        "model": "scripted",
        "response_mode": "compact",
        "passages": "sections",
        "classify": False,
        "rewrite": True,
        "hyde": False,
        "multi_query": 0,
        "decompose": False,
    }


async def test_quoting_is_one_field_away(client: httpx.AsyncClient, model: ScriptedGenerator) -> None:
    body = await ask(client, generate=False)
    assert body["kind"] == "extractive"
    assert body["usage"] is None
    assert model.requests == []


@pytest.mark.parametrize(
    "field",
    [
        {"response_mode": "poem"},
        {"passages": "pages"},
        {"multi_query": 6},
        {"temperature": -1},
        {"max_tokens": 0},
    ],
)
async def test_options_out_of_range_are_refused(client: httpx.AsyncClient, field: dict[str, object]) -> None:
    answer = await client.post("/v1/query", json={"query": "x", **field})
    assert answer.status_code == 422
    assert next(iter(field)) in answer.json()["detail"]
