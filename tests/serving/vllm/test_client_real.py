"""Our client against a real vLLM with a tiny Qwen3 of random weights (``make test-vllm``)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
import pytest

from indexing.errors import GenerationError
from retrieval.generation.protocol import GenerationRequest, Message
from tests.fakes.openai_server import MODEL, FakeOpenAI, serve
from tests.fakes.qwen3 import qwen3_bpe
from tests.fakes.shapes import missing

pytestmark = pytest.mark.anyio
BLOCK = 128  # tokens, of vLLM's CPU build
# The promise is 1 s (benchmarks.generation_faults measures it); a busy machine may take longer to tell.
IDLE_S = 10.0
# The model of the tests is small: it can be done before anybody leaves.
TOKENS = 3000
ATTEMPTS = 10
LONG = "The board met four times. Net cash provided by operations was $ 5.4 million. " * 12


def ask(text: str = LONG, tenant: str = "default", **more: Any) -> GenerationRequest:
    return GenerationRequest((Message("system", "Answer."), Message("user", text)), tenant=tenant, **more)


async def test_an_answer_comes_in_pieces_with_the_servers_own_counts(opened, metrics) -> None:
    async with opened(max_tokens=24) as generator:
        chunks = [chunk async for chunk in generator.stream(ask())]
        whole = await generator.complete(ask())
        assert generator.running == 0
    pieces = [chunk.text for chunk in chunks if chunk.text]
    assert len(pieces) > 3
    assert "".join(pieces) == whole.text
    last = chunks[-1]
    assert last.finish in ("length", "stop")
    assert last.usage is not None
    templated = f"<|im_start|>system\nAnswer.<|im_end|>\n<|im_start|>user\n{LONG}<|im_end|>\n"
    tokens = qwen3_bpe().encode(f"{templated}<|im_start|>assistant\n").ids
    assert last.usage.prompt_tokens == len(tokens)
    assert last.usage.first_token_ms is not None
    assert last.usage.tokens_per_s is not None


async def test_a_reader_that_leaves_ends_the_work_upstream(opened, metrics) -> None:
    async with opened(max_tokens=TOKENS) as generator:
        for _ in range(ATTEMPTS):
            tokens = metrics.tokens
            stream = generator.stream(ask())
            await anext(stream)
            await stream.aclose()
            # In a thread: a connection closes in the loop.
            await asyncio.to_thread(metrics.wait_until_idle, IDLE_S)
            assert generator.running == 0
            if metrics.tokens - tokens < TOKENS:
                return
    raise AssertionError(f"each of {ATTEMPTS} requests ran to its end")


async def test_a_cancelled_task_ends_the_work_upstream(opened, metrics) -> None:
    async with opened(max_tokens=TOKENS) as generator:
        for _ in range(ATTEMPTS):
            tokens = metrics.tokens
            task = asyncio.create_task(generator.complete(ask()))
            async with asyncio.timeout(120):
                while generator.running < 1:
                    await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(metrics.wait_until_idle, IDLE_S)
            if metrics.tokens - tokens < TOKENS:
                return
    raise AssertionError(f"each of {ATTEMPTS} requests ran to its end")


async def test_tenants_do_not_share_what_is_cached(opened) -> None:
    async with opened() as generator:
        counts = []
        for tenant in ("a", "a", "b", "b", "a"):
            usage = (await generator.complete(ask(tenant=tenant))).usage
            assert usage is not None
            counts.append(usage.cached_tokens)
            whole = (usage.prompt_tokens - 1) // BLOCK * BLOCK
    assert whole >= BLOCK
    assert counts == [0, whole, 0, whole, whole]


async def test_the_answers_counts_are_the_servers_metrics(opened, metrics) -> None:
    hits, queries = metrics.hits, metrics.queries
    async with opened() as generator:
        usages = [(await generator.complete(ask(f"{LONG} {number}"))).usage for number in range(4)]
    assert sum(usage.cached_tokens for usage in usages) == metrics.hits - hits > 0
    assert sum(usage.prompt_tokens for usage in usages) == metrics.queries - queries


async def test_tokens_are_counted_by_the_server(opened) -> None:
    texts = [
        "yes",
        "The board met four times.",
        "经营活动产生的现金流量净额",
        "",
        "<passage 1>\nx\n</passage 1>",
    ]
    async with opened() as generator:
        counted = await generator.count_tokens(texts)
    tokenizer = qwen3_bpe()
    assert counted.exact
    assert list(counted.counts) == [len(tokenizer.encode(text).ids) for text in texts]


async def test_a_prompt_that_is_too_long_is_refused_with_the_servers_words(opened) -> None:
    async with opened() as generator:
        with pytest.raises(GenerationError, match=r"400.*(context length|maximum)"):
            await generator.complete(ask("cash " * 6000))


async def test_a_model_that_is_not_served_is_named(opened) -> None:
    async with opened(model="other") as generator:
        with pytest.raises(GenerationError, match=r"404.*other"):
            await generator.complete(ask())
        with pytest.raises(GenerationError, match=r"serves .*, not other"):
            await generator.check()


async def test_a_prefix_stays_on_its_replica_and_prefixes_are_dealt_out(opened, replicas) -> None:
    async with opened(url=",".join(replicas)) as generator:
        homes: dict[str, set[str]] = {}
        for turn in range(3):
            for prefix in "abcdefgh":
                asked = ask(f"{prefix} {LONG} {turn}", prefix=prefix)
                usage = (await generator.complete(asked)).usage
                homes.setdefault(prefix, set()).add(usage.replica)
                assert (usage.cached_tokens > 0) == (turn > 0)
    assert all(len(found) == 1 for found in homes.values())
    assert {url for found in homes.values() for url in found} == set(replicas)


async def test_a_replica_that_is_away_is_passed_over(opened, url) -> None:
    async with opened(url=f"http://127.0.0.1:9,{url}") as generator:
        for prefix in "abcd":
            completion = await generator.complete(ask(prefix, prefix=prefix))
            assert completion.usage.replica == url


async def test_the_fake_answers_in_the_shapes_of_the_real_one(url: str, opened) -> None:
    async with opened() as generator, serve(FakeOpenAI()) as fake, httpx.AsyncClient(timeout=300) as client:
        await generator.check()
        named = {fake.url: MODEL, url: generator.model}
        body = {"messages": [{"role": "user", "content": LONG}], "max_tokens": 6, "cache_salt": "s"}
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}

        async def post(base: str, path: str, given: dict[str, Any]) -> httpx.Response:
            return await client.post(f"{base}{path}", json={**given, "model": named[base]})

        async def both(path: str, given: dict[str, Any]) -> list[str]:
            one, other = [(await post(base, path, given)).json() for base in (fake.url, url)]
            return missing(one, other, path)

        assert await both("/tokenize", {"prompt": "yes", "add_special_tokens": False}) == []
        assert await both("/v1/chat/completions", body) == []
        one, other = [(await client.get(f"{base}/v1/models")).json() for base in (fake.url, url)]
        assert missing(one, other) == []
        events = {}
        for base in (fake.url, url):
            text = (await post(base, "/v1/chat/completions", streamed)).text
            lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
            assert lines[-1] == "[DONE]"
            events[base] = [json.loads(line) for line in lines[:-1]]
        assert missing(events[fake.url][0], written(events[url])) == []
        assert missing(events[fake.url][-2], finished(events[url])) == []
        assert missing(events[fake.url][-1], events[url][-1]) == []
        assert events[url][-1]["choices"] == []


def written(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in events if event["choices"][0]["delta"].get("content"))


def finished(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in events if event["choices"] and event["choices"][0]["finish_reason"])
