"""The whole service, ``python -m serving``, with a real vLLM behind it (``make test-vllm``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.processes import ServiceProcess

IDLE_S = 10.0
# Random weights never end an answer, so each one ends at max_tokens.
CUT = "answer: cut off at the limit of 12 tokens"
TEXTS = {
    "backups": "The database is backed up every fifteen minutes. Backups are kept for ninety days. "
    "The keys are kept in a hardware module. The engineer on call leads the exercise twice a year.",
    "rooms": "The blue room has a video wall. It is booked for two hours at most. "
    "Rooms that stay empty for ten minutes are free again.",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    from tests.serving.vllm.conftest import REPLICAS

    variables = {
        "WINNOW_GENERATION__URL": ",".join(REPLICAS),
        "WINNOW_GENERATION__MAX_TOKENS": "12",
        "WINNOW_GENERATION__CONTEXT_TOKENS": "1200",
        "WINNOW_GENERATION__FIRST_TOKEN_TIMEOUT_S": "120",
        "WINNOW_GENERATION__TIMEOUT_S": "240",
        "WINNOW_RERANK__MODEL": "none",
        "WINNOW_EXPANSION__REWRITE": "false",
        "OMP_NUM_THREADS": "1",
    }
    with ServiceProcess(tmp_path_factory.mktemp("service") / "home", **variables) as running:
        running.client.timeout = httpx.Timeout(300)
        running.index([{"doc_id": name, "text": text} for name, text in TEXTS.items()])
        yield running


def told(service: ServiceProcess, **body: object) -> list[tuple[str, Any]]:
    text = service.client.post("/v1/query", json={"stream": True, **body}).text
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["event"], json.loads(fields["data"])))
    return found


def generate_stage(events: list[tuple[str, Any]]) -> dict[str, Any]:
    return next(data for name, data in events if name == "stage" and data["name"] == "generate")


def test_the_second_turn_is_served_from_the_cache_and_the_receipt_says_so(service: ServiceProcess) -> None:
    known = service.client.post("/v1/conversations", json={}).json()["id"]
    first = told(service, query="How often is the database backed up?", conversation_id=known)
    second = told(service, query="And who leads the exercise?", conversation_id=known)
    for events in (first, second):
        names = [name for name, _ in events]
        assert names[-1] == "done", events[-1]
        assert names.count("usage") == 1
        assert names.index("results") < names.index("answer")
        assert events[-1][1]["degraded"] == [CUT]
    one, two = generate_stage(first), generate_stage(second)
    assert one["cached_tokens"] == 0
    # All but the last block of what the first turn sent stands at the beginning of the second.
    assert two["cached_tokens"] >= one["prompt_tokens"] // 128 * 128 > 0
    assert two["prompt_tokens"] > one["prompt_tokens"]
    assert two["first_token_ms"] > 0
    usage = dict(second)["usage"]
    assert usage["cached_tokens"] == two["cached_tokens"]


def test_ready_names_the_model(service: ServiceProcess) -> None:
    checks = service.client.get("/ready").json()["checks"]
    check = next(one for one in checks if one["name"] == "generation")
    assert check["ok"], check
    assert "replicas" in check["detail"]


def test_a_client_that_leaves_ends_the_work_upstream(service: ServiceProcess, all_metrics: Any) -> None:
    tokens = all_metrics.tokens
    body = {"query": "Which room has a video wall?", "stream": True, "max_tokens": 2000}
    with service.client.stream("POST", "/v1/query", json=body) as answer:
        for line in answer.iter_lines():
            if line == "event: answer":
                break
    all_metrics.wait_until_idle(IDLE_S)
    assert all_metrics.tokens - tokens < 2000, "it ran to its end"


def test_the_chat_endpoint_speaks_through_the_same_model(service: ServiceProcess) -> None:
    body = {"model": "winnow", "messages": [{"role": "user", "content": "Which room has a video wall?"}]}
    answer = service.client.post("/v1/chat/completions", json=body).json()
    assert answer["usage"]["prompt_tokens"] > 100
    assert answer["winnow"]["receipt"]["degraded"] == [CUT]
    assert answer["choices"][0]["finish_reason"] == "length"


LONG = {
    f"part-{number}": " ".join(
        f"Line {line} of part {number} says: valve {line} of tank {number} closes after {line + 3} minutes."
        for line in range(15)
    )
    for number in range(4)
}


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
def test_an_answer_of_several_calls_comes_token_by_token(service: ServiceProcess, mode: str) -> None:
    if mode == "refine":
        service.index([{"doc_id": name, "text": text} for name, text in LONG.items()])
    events = told(service, query="When does valve 4 of tank 2 close?", response_mode=mode, top_n=8)
    assert events[-1][0] == "done", events[-1]
    generate = generate_stage(events)
    assert generate["groups"] > 1
    assert generate["calls"] == generate["groups"] + (mode == "tree_summarize")
    names = [data["name"] if name == "stage" else name for name, data in events]
    # Labels, the calls before the last, and then the answer, piece by piece.  Random weights may
    # say nothing that shows in the last call: then it is the answer before, which comes whole.
    begins = names.index("answer")
    assert names.index("passages") < names.index("group") < begins
    before = names[:begins].count("group")
    assert before - (generate["calls"] - 1) in (0, 1), events
    assert "group" not in names[begins:], events
    if before < generate["calls"]:
        assert names.count("answer") > 2, events
    groups = [data for name, data in events if name == "stage" and data["name"] == "group"]
    assert 0 < sum(one["prompt_tokens"] for one in groups) <= generate["prompt_tokens"]
    assert dict(events)["usage"]["completion_tokens"] == generate["calls"] * 12
    # The instruction of every call is served from the cache, or more.
    assert generate["cached_tokens"] >= 128 * (generate["calls"] - 1)


def test_a_client_that_leaves_between_the_calls_ends_the_work_upstream(
    service: ServiceProcess, all_metrics: Any
) -> None:
    tokens = all_metrics.tokens
    body = {"query": "Which valve of tank 1?", "stream": True, "max_tokens": 2000, "top_n": 8}
    with service.client.stream("POST", "/v1/query", json={**body, "response_mode": "refine"}) as answer:
        for line in answer.iter_lines():
            if line == "event: passages":
                break
    all_metrics.wait_until_idle(IDLE_S)
    assert all_metrics.tokens - tokens < 2000, "it went on to the next call"
