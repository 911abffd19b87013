"""The ``/score`` teacher on a real vLLM server, with a tiny XLM-R cross-encoder of random weights.

Opt-in, as the other tests here; ``make test-vllm`` builds the checkpoint and
starts the server.  By hand::

    python -m tests.fakes.cross_encoder FOLDER
    python -m serving.vllm FOLDER --max-model-len 508 --runner pooling --no-enable-prefix-caching \
        --dtype float32 --enforce-eager
    VLLM_TEST_SCORE_URL=http://127.0.0.1:8001 python -m pytest tests/distill/vllm/test_real_scoring.py
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from distill.errors import GoldenGateError, TeacherRefusedError
from distill.golden import check_teacher
from distill.records import Passage, Query
from distill.teachers import TeacherAnswer, TeacherSettings, open_teacher
from tests.fakes.cross_encoder import SERVED_TOKENS, build_served
from tests.fakes.teacher_server import FakeTeacherServer

URL = os.environ.get("VLLM_TEST_SCORE_URL", "")
QUERY = Query("q", "how much cash was provided by operations")
PASSAGES = [
    Passage("a", "Net cash provided was $ 5.4 million."),
    Passage("b", "The board met four times."),
    Passage("c", "经营活动产生的现金流量净额为五百四十万元。"),
    Passage("d", "Deferred tax assets are recognised when it is probable that profit will be available."),
    Passage("e", "Cash paid for interest was small. " * 4),
    Passage("f", "x"),
]

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not URL, reason="VLLM_TEST_SCORE_URL names no server"),
]


@pytest.fixture(scope="module")
def model() -> str:
    return httpx.get(f"{URL}/v1/models", timeout=30).json()["data"][0]["id"]


def settings(model: str, **more: object) -> TeacherSettings:
    return TeacherSettings.model_validate(
        {"kind": "score", "url": URL, "model": model, "timeout_s": 60, **more}
    )


def scored(chosen: TeacherSettings, passages: list[Passage]) -> TeacherAnswer:
    async def go() -> TeacherAnswer:
        async with open_teacher(chosen) as teacher:
            return await teacher.score(QUERY, passages)

    return asyncio.run(go())


def test_the_scores_are_those_of_sentence_transformers(model: str, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    folder = build_served(tmp_path / "tiny")
    loaded = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity(), local_files_only=True)
    expected = loaded.predict([(QUERY.text, one.text) for one in PASSAGES], show_progress_bar=False)
    answer = scored(settings(model), PASSAGES)
    # Raw outputs: a sigmoid would have squeezed them into 0 to 1.
    assert answer.scores == pytest.approx(expected.tolist(), abs=1e-2)
    assert max(expected) - min(expected) > 0.1
    assert answer.scale == "logit"
    assert answer.prompt_tokens > 0


def test_batches_and_order_change_no_score(model: str) -> None:
    whole = scored(settings(model), PASSAGES)
    parts = scored(settings(model, batch=2), PASSAGES)
    backwards = scored(settings(model), PASSAGES[::-1])
    assert parts.scores == pytest.approx(whole.scores, abs=1e-4)
    assert backwards.scores[::-1] == pytest.approx(whole.scores, abs=1e-4)
    assert (whole.calls, parts.calls) == (1, 3)


def test_the_fake_answers_in_the_shape_of_the_real_one(model: str) -> None:
    body = {"queries": "cash", "documents": ["net cash", "the board"], "use_activation": False}
    real = httpx.post(f"{URL}/score", json={**body, "model": model}, timeout=60).json()
    with FakeTeacherServer() as server:
        fake = httpx.post(f"{server.url}/score", json={**body, "model": server.model}, timeout=60).json()
    assert fake.keys() <= real.keys()
    assert [set(row) <= set(other) for row, other in zip(fake["data"], real["data"], strict=True)] == [
        True
    ] * 2
    assert fake["usage"].keys() <= real["usage"].keys()


def test_a_passage_that_does_not_fit_is_refused(model: str) -> None:
    long = Passage("long", "cash " * 4 * SERVED_TOKENS)
    with pytest.raises(TeacherRefusedError, match="400: "):
        scored(settings(model), [*PASSAGES, long])


def test_what_the_server_refuses_is_told(model: str) -> None:
    with pytest.raises(TeacherRefusedError, match="404: The model `other` does not exist"):
        scored(settings("other"), PASSAGES)


def test_a_head_of_random_weights_does_not_pass_the_gate(model: str) -> None:
    async def go() -> None:
        async with open_teacher(settings(model)) as teacher:
            await check_teacher(teacher)

    with pytest.raises(GoldenGateError, match="failed the golden pairs"):
        asyncio.run(go())
