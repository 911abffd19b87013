"""A language model that fails: counted, told by ``/ready``, and no end of a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from indexing.errors import GarbledAnswerError, GenerationTimeoutError, GenerationUnavailableError
from indexing.settings import GenerationSettings
from retrieval.generation.client import HttpGenerator, open_generator
from retrieval.generation.protocol import GenerationRequest, Message, TokenCounts
from tests.fakes.openai_server import FakeOpenAI, serve
from tests.fakes.scripted_generator import ScriptedGenerator
from tests.fakes.service import Harness, make_harness

pytestmark = pytest.mark.anyio
FAILED = "winnow_generation_failures_total"


class Away(ScriptedGenerator):
    """One that can stop to count tokens, as a server does that is gone."""

    away = False

    async def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        if self.away:
            raise GenerationUnavailableError("nobody there")
        return await super().count_tokens(texts)


@pytest.fixture
def model() -> Away:
    return Away("Open a file with open [1].")


@pytest.fixture(params=["extractive", "none"])
async def harness(
    tmp_path: Path, anyio_backend: str, model: Away, request: pytest.FixtureRequest
) -> AsyncIterator[Harness]:
    made = await make_harness(tmp_path, generator=model, generation={"fallback": request.param})
    yield made
    await made.close()


@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_each_failure_is_counted_once_whatever_the_client_gets(
    client: httpx.AsyncClient, model: Away, path: str, stream: bool
) -> None:
    model.reply = GenerationTimeoutError("slow")
    question = "how to open a file"
    told = [{"role": "user", "content": question}]
    body = {"query": question} if path == "/v1/query" else {"model": "winnow", "messages": told}
    await client.post(path, json={**body, "stream": stream})
    assert f"{FAILED} 1.0" in (await client.get("/metrics")).text


async def test_a_conversation_survives_a_model_that_is_gone(
    client: httpx.AsyncClient, model: Away, harness: Harness
) -> None:
    known = (await client.post("/v1/conversations", json={})).json()["id"]
    body = {"query": "how to open a file", "conversation_id": known, "rewrite": False}
    assert (await client.post("/v1/query", json=body)).json()["kind"] == "generated"
    model.away = True
    answer = await client.post("/v1/query", json=body)
    if harness.settings.generation.fallback == "none":
        assert (answer.status_code, answer.json()["type"]) == (503, "generation-unavailable")
    else:
        assert (answer.status_code, answer.json()["kind"]) == (200, "extractive")
        assert answer.json()["receipt"]["degraded"] == ["generate: nobody there"]


def opened(home: Path, url: str) -> HttpGenerator:
    limits = {"first_token_timeout_s": 0.3, "connect_timeout_s": 1.0}
    made = open_generator(GenerationSettings.model_validate({"url": url, **limits}), home)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("fault", "kind"), [("silent", GenerationTimeoutError), ("garbled", GarbledAnswerError)]
)
async def test_a_server_that_only_lists_its_models_is_not_ready(
    tmp_path: Path, fault: str, kind: type[Exception]
) -> None:
    asked = GenerationRequest((Message("user", "one two three four"),))
    async with serve(FakeOpenAI()) as fake:
        generator = opened(tmp_path, fake.url)
        fake.fault = fault
        await generator.check()  # nothing has failed yet, and no answer is asked for
        assert fake.calls == []
        with pytest.raises(kind):
            await generator.complete(asked)
        with pytest.raises(kind):
            await generator.check()
        fake.fault = ""
        asked_for = len(fake.calls)
        await generator.check()
        await generator.check()
        assert len(fake.calls) == asked_for + 1  # one answer is enough to believe it again
        await generator.aclose()
