"""The teachers on a real vLLM server, with a tiny Qwen3 of random weights.

Opt-in, for a machine that has vLLM in an environment of its own::

    python -m tests.fakes.qwen3 FOLDER
    python -m vllm.entrypoints.openai.api_server --model FOLDER --served-model-name tiny-qwen3 \
        --enable-prefix-caching --enable-prompt-tokens-details --max-model-len 4096 --port 8000
    WINNOW_TEST_VLLM_URL=http://127.0.0.1:8000 python -m pytest tests/distill/vllm

What the server answers is held against the fake's shapes, and the scores
against the same checkpoint run by transformers.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from distill.errors import GoldenGateError, TeacherRefusedError
from distill.golden import check_teacher
from distill.records import Passage, Query
from distill.teachers import TeacherAnswer, TeacherSettings, open_teacher
from distill.teachers.prefix_cache import read_prefix_cache
from distill.teachers.prompts import pointwise_prompt
from distill.teachers.settings import Method, PromptName
from tests.fakes.teacher_server import FakeTeacherServer

URL = os.environ.get("WINNOW_TEST_VLLM_URL", "")
MODEL = "tiny-qwen3"
QUERY = Query("q", "how much cash was provided by operations")
PASSAGES = [
    Passage("a", "Net cash provided was $ 5.4 million."),
    Passage("b", "The board met four times."),
    Passage("c", "经营活动产生的现金流量净额为五百四十万元。"),
    Passage("d", "Rivers flow; banks lend money to the board. " * 6),
]

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not URL, reason="WINNOW_TEST_VLLM_URL names no server"),
]


def settings(kind: Method, **more: object) -> TeacherSettings:
    body = {"kind": kind, "url": URL, "model": MODEL, "timeout_s": 60, **more}
    return TeacherSettings.model_validate(body)


def scored(chosen: TeacherSettings, passages: list[Passage] = PASSAGES) -> TeacherAnswer:
    async def go() -> TeacherAnswer:
        async with open_teacher(chosen) as teacher:
            return await teacher.score(QUERY, passages)

    return asyncio.run(go())


def post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = httpx.post(f"{url}{path}", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def missing(fake: Any, real: Any, where: str = "") -> list[str]:
    """Paths of the fake's answer that the real one lacks, or has as another type."""
    if isinstance(fake, dict):
        if not isinstance(real, dict):
            return [f"{where}: {type(real).__name__}"]
        # Token names differ, as the vocabularies do.
        if where.endswith("top_logprobs.0"):
            return [] if all(name.startswith("token_id:") for name in (*fake, *real)) else [where]
        lacking = [f"{where}.{name}" for name in fake if name not in real]
        return lacking + [
            path
            for name in fake
            if name in real
            for path in missing(fake[name], real[name], f"{where}.{name}")
        ]
    if isinstance(fake, list):
        return missing(fake[0], real[0], f"{where}.0") if fake and real else []
    number = isinstance(fake, int | float) and isinstance(real, int | float)
    return [] if number or type(fake) is type(real) else [f"{where}: {type(fake)} is {type(real)}"]


def test_the_fake_answers_in_the_shapes_of_the_real_one() -> None:
    chat = [{"role": "user", "content": "Query: a b\n\n[1] a\n[2] b"}]
    with FakeTeacherServer() as server:

        def both(path: str, body: dict[str, Any], **ids: list[int]) -> list[str]:
            fake = post(server.url, path, {**body, "model": server.model, **ids})
            return missing(fake, post(URL, path, {**body, "model": MODEL, **ids}), path)

        assert both("/tokenize", {"prompt": "yes", "add_special_tokens": False}) == []
        assert both("/tokenize", {"messages": chat}) == []
        assert both("/detokenize", {"tokens": [1, 2]}) == []
        scoring = {"query": "Query: a\n\nPassage:", "items": [" a", " b"]}
        assert both("/generative_scoring", scoring, label_token_ids=[3, 4]) == []
        completion = {
            "prompt": ["a", "b"],
            "max_tokens": 1,
            "logprobs": 2,
            "return_tokens_as_token_ids": True,
        }
        assert both("/v1/completions", completion, logprob_token_ids=[3, 4]) == []
        assert both("/v1/chat/completions", {"messages": chat, "max_tokens": 4}) == []


@pytest.mark.parametrize("prompt", ["yes-no", "yes-no-chat", "qwen3-reranker"])
def test_both_paths_give_the_same_log_odds(prompt: PromptName) -> None:
    one = scored(settings("generative-scoring", prompt=prompt))
    other = scored(settings("completions", prompt=prompt))
    # Digits of a probability against digits of a log probability.
    assert one.scores == pytest.approx(other.scores, abs=1e-4)
    assert one.prompt_tokens == other.prompt_tokens


@pytest.mark.parametrize("prompt", ["yes-no", "qwen3-reranker"])
def test_the_log_odds_are_those_of_transformers(prompt: PromptName, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.fakes.qwen3 import build_qwen3

    folder = build_qwen3(tmp_path / "tiny")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    yes, no = (tokenizer(word).input_ids[0] for word in ("yes", "no"))
    text = pointwise_prompt(prompt, None)
    expected = []
    for one in PASSAGES:
        ids = tokenizer(text.cut(QUERY.text) + text.item(one.text), return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(ids).logits[0, -1]
        expected.append(float(logits[yes] - logits[no]))
    found = scored(settings("generative-scoring", prompt=prompt)).scores
    # The server runs in bf16, this in fp32; the largest difference seen is 0.045.
    assert found == pytest.approx(expected, abs=0.1)
    assert max(expected) - min(expected) > 0.5


def test_other_batches_give_nearly_the_same_scores() -> None:
    whole = scored(settings("generative-scoring")).scores
    alone = scored(settings("generative-scoring", batch=1)).scores
    backwards = scored(settings("generative-scoring"), PASSAGES[::-1]).scores
    assert alone == pytest.approx(whole, abs=0.1)
    assert backwards[::-1] == pytest.approx(whole, abs=0.1)


def test_the_server_cuts_a_long_prompt_silently_so_the_teacher_does_not_send_it() -> None:
    words = "cash " * 6000
    body = {
        "model": MODEL,
        "query": "q",
        "items": [f" {words} one", f" {words} two"],
        "label_token_ids": [3, 4],
    }
    cut = post(URL, "/generative_scoring", body)
    assert cut["data"][0]["score"] == cut["data"][1]["score"]
    assert cut["usage"]["prompt_tokens"] == 2 * 4095
    for kind in ("generative-scoring", "completions"):
        with pytest.raises(TeacherRefusedError, match=r"takes 4096 tokens: long \(\d+ tokens\)"):
            scored(settings(kind), [*PASSAGES, Passage("long", words)])


def test_the_prefix_is_served_from_the_cache() -> None:
    chosen = settings("generative-scoring", cache_salt=uuid.uuid4().hex)
    passages = [Passage(str(number), f"Passage number {number} about cash.") for number in range(16)]
    before = asyncio.run(read_prefix_cache(chosen))
    scored(chosen, passages)
    counted = asyncio.run(read_prefix_cache(chosen)).since(before)
    # A block is 128 tokens on a CPU: the head of about 190 holds one, shared by 15 of 16.
    assert counted.found >= 15 * 128
    assert counted.queried > counted.found


def test_a_chat_answer_becomes_a_ranking() -> None:
    answer = scored(
        settings("listwise", max_tokens=16, max_missing_share=1.0, thinking=False, cache_salt="s")
    )
    assert sorted(answer.scores) == [-4.0, -3.0, -2.0, -1.0]
    assert (answer.calls, answer.completion_tokens) == (1, 16)
    assert answer.repairs in (0, 1)


@pytest.mark.parametrize("kind", ["generative-scoring", "listwise"])
def test_a_model_of_random_weights_does_not_pass_the_gate(kind: Method) -> None:
    async def go() -> None:
        async with open_teacher(settings(kind, max_tokens=16, max_missing_share=1.0)) as teacher:
            await check_teacher(teacher)

    with pytest.raises(GoldenGateError, match="failed the golden pairs"):
        asyncio.run(go())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "404: The model `other` does not exist"),
        ({"labels": ("absolutely", "no")}, "'absolutely' is 10 tokens"),
        ({"labels": ("yes", "yes")}, "the same token"),
        ({"kind": "score"}, "404: Not Found"),
        ({"kind": "listwise", "max_tokens": 100_000}, "400: "),
    ],
)
def test_what_the_server_refuses_is_told(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TeacherRefusedError, match=message):
        scored(settings(change.pop("kind", "generative-scoring"), **change))
