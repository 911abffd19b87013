"""The OpenAI-compatible face, tried with the official client and LlamaIndex over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
import uvicorn
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from indexing.errors import GenerationTimeoutError
from serving.app import create_app
from tests.fakes.listening import listening
from tests.fakes.scripted_generator import ScriptedGenerator
from tests.fakes.service import Harness, make_harness

pytestmark = pytest.mark.anyio


@pytest.fixture
def model() -> ScriptedGenerator:
    return ScriptedGenerator("Open a file with open [1].")


def server_of(harness: Harness) -> uvicorn.Server:
    app = create_app(harness.settings, harness.service)
    return uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))


@pytest.fixture
async def url(tmp_path: Path, anyio_backend: str, model: ScriptedGenerator) -> AsyncIterator[str]:
    harness = await make_harness(tmp_path, generator=model)
    async with listening(server_of(harness)) as there:
        yield f"http://127.0.0.1:{there.port}/v1"
    await harness.close()


def official(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=20)


QUESTION = [{"role": "user", "content": "how to open a file"}]


async def test_the_official_client_gets_an_answer_with_evidence(url: str) -> None:
    async with official(url) as client:
        assert [one.id for one in (await client.models.list()).data] == ["winnow"]
        reply = await client.chat.completions.create(model="winnow", messages=QUESTION)
    assert reply.choices[0].message.content == "Open a file with open [1]."
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 6
    assert reply.model_extra is not None
    evidence = reply.model_extra["winnow"]
    assert evidence["kind"] == "generated"
    assert evidence["receipt"]["stages"][-1]["name"] == "check"


async def test_the_official_client_streams(url: str) -> None:
    async with official(url) as client:
        stream = await client.chat.completions.create(
            model="winnow", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Open a file with open [1]."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6


async def test_an_answer_that_the_limit_ends_finishes_by_length(url: str, model: ScriptedGenerator) -> None:
    model.finish = "length"
    async with official(url) as client:
        reply = await client.chat.completions.create(model="winnow", messages=QUESTION)
        stream = await client.chat.completions.create(model="winnow", messages=QUESTION, stream=True)
        chunks = [chunk async for chunk in stream]
    assert reply.choices[0].finish_reason == "length"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert reply.model_extra is not None
    assert reply.model_extra["winnow"]["receipt"]["degraded"] == [
        "answer: cut off at the limit of 512 tokens"
    ]


async def test_llama_index_can_use_the_service_as_a_model(url: str) -> None:
    llm = OpenAILike(
        model="winnow", api_base=url, api_key="none", is_chat_model=True, timeout=20, max_retries=0
    )
    reply = await llm.achat([ChatMessage(role="user", content="how to open a file")])
    assert reply.message.content == "Open a file with open [1]."
    pieces = [piece.delta async for piece in await llm.astream_chat([ChatMessage(content="how to open")])]
    assert "".join(piece or "" for piece in pieces) == "Open a file with open [1]."


async def test_earlier_messages_and_the_system_message_reach_the_model(
    url: str, model: ScriptedGenerator
) -> None:
    model.reply = lambda request: (
        "how to close a file" if request.messages[0].content.startswith("Rewrite") else "Close it [1]."
    )
    messages = [
        {"role": "system", "content": "Answer like a pirate."},
        {"role": "user", "content": "how to open a file"},
        {"role": "assistant", "content": "With open."},
        {"role": "user", "content": [{"type": "text", "text": "and close it?"}]},
    ]
    async with official(url) as client:
        await client.chat.completions.create(model="winnow", messages=messages)
    sent = model.requests[-1].messages
    assert sent[0].content.endswith("Answer like a pirate.")
    assert [one.content for one in sent[1:3]] == ["how to open a file", "With open."]
    assert sent[3].content.endswith("Question: how to close a file")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": QUESTION, "tools": []},
        {"messages": QUESTION, "n": 2},
        {"messages": QUESTION, "model": "gpt-4"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    ],
)
async def test_what_is_not_supported_is_refused(url: str, body: dict[str, object]) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{url}/chat/completions", json=body)).status_code == 422


async def test_a_model_that_fails_half_way_is_set_apart_and_quoted(
    url: str, model: ScriptedGenerator
) -> None:
    model.fail_after, model.failure = 2, GenerationTimeoutError("stalled")
    async with official(url) as client:
        stream = await client.chat.completions.create(model="winnow", messages=QUESTION, stream=True)
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("Open a\n\n---\n\n")
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["winnow"]["kind"] == "extractive"


async def test_a_client_that_leaves_stops_the_model(url: str, model: ScriptedGenerator) -> None:
    model.reply = "word " * 100_000
    async with official(url) as client:
        stream = await client.chat.completions.create(model="winnow", messages=QUESTION, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        async with asyncio.timeout(5):
            while not model.closed:
                await asyncio.sleep(0.01)
