"""The client of a language model against a server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from indexing.errors import (
    GarbledAnswerError,
    GenerationError,
    GenerationTimeoutError,
    GenerationUnavailableError,
    QueueFullError,
    SettingsError,
)
from indexing.settings import GenerationSettings
from retrieval.generation.client import HttpGenerator, open_generator
from retrieval.generation.protocol import GenerationRequest, Message
from tests.fakes.openai_server import BLOCK, MODEL, FakeOpenAI, serve

pytestmark = pytest.mark.anyio
LONG = "one two three four five six seven eight nine ten"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def fake(anyio_backend: str) -> AsyncIterator[FakeOpenAI]:
    async with serve(FakeOpenAI()) as server:
        yield server


@contextlib.asynccontextmanager
async def opened(home: Path, url: str, **changes: object) -> AsyncIterator[HttpGenerator]:
    limits: dict[str, object] = {"first_token_timeout_s": 0.5, "connect_timeout_s": 1.0}
    settings = GenerationSettings.model_validate({"url": url, **limits, **changes})
    generator = open_generator(settings, home)
    assert generator is not None
    try:
        yield generator
    finally:
        await generator.aclose()


def ask(text: str, tenant: str = "default") -> GenerationRequest:
    return GenerationRequest((Message("system", "Answer."), Message("user", text)), tenant=tenant)


async def test_nothing_is_opened_without_an_address(tmp_path: Path) -> None:
    assert open_generator(GenerationSettings(), tmp_path) is None


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", " , "])
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="http://HOST:PORT"):
        open_generator(GenerationSettings(url=url), tmp_path)


async def test_pieces_joined_are_the_answer_and_the_usage_is_the_servers(
    tmp_path: Path, fake: FakeOpenAI
) -> None:
    async with opened(tmp_path, fake.url + "/v1/") as generator:
        chunks = [chunk async for chunk in generator.stream(ask(LONG))]
        whole = await generator.complete(ask(LONG))
    assert "".join(chunk.text for chunk in chunks) == LONG == whole.text
    assert generator.model == MODEL
    last = chunks[-1]
    assert last.finish == whole.finish == "stop"
    assert last.usage is not None
    assert whole.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (11, 10)
    # Ten words and one of the system message: two whole blocks of four were there before.
    assert (last.usage.cached_tokens, whole.usage.cached_tokens) == (0, 11 // BLOCK * BLOCK)
    assert last.usage.first_token_ms is not None
    assert last.usage.first_token_ms > 0
    assert last.usage.replica == fake.url


async def test_tenants_have_salts_of_their_own_and_share_no_prefix(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with opened(tmp_path, fake.url) as generator:
        for tenant, cached in (("a", 0), ("a", 8), ("b", 0), ("b", 8)):
            usage = (await generator.complete(ask(LONG, tenant))).usage
            assert usage is not None
            assert usage.cached_tokens == cached
    salts = [call.body["cache_salt"] for call in fake.calls]
    assert salts[0] == salts[1] != salts[2] == salts[3]
    assert salts[0] != "a"
    async with opened(tmp_path, fake.url) as again:  # the secret is kept in the home folder
        await again.complete(ask(LONG, "a"))
    assert fake.calls[-1].body["cache_salt"] == salts[0]
    async with opened(tmp_path, fake.url, salt_secret="another secret of 25 chars") as other:
        await other.complete(ask(LONG, "a"))
    assert fake.calls[-1].body["cache_salt"] not in salts


async def test_a_short_salt_secret_is_refused(tmp_path: Path) -> None:
    settings = GenerationSettings.model_validate({"url": "http://127.0.0.1:9", "salt_secret": "short"})
    with pytest.raises(SettingsError, match="16 characters"):
        open_generator(settings, tmp_path)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("500", GenerationError, "answered 500"),
        ("400", GenerationError, "answered 400"),
        ("503", GenerationUnavailableError, "answered 503"),
        ("429", GenerationUnavailableError, "answered 429"),
        ("silent", GenerationTimeoutError, "sent nothing"),
        ("stall", GenerationTimeoutError, "sent nothing"),
        ("cut", GarbledAnswerError, "half-way"),
        ("garbled", GarbledAnswerError, "not of the chat API"),
        ("error-event", GenerationError, "out of memory"),
        ("not-a-stream", GarbledAnswerError, "no event stream"),
    ],
)
async def test_each_fault_is_a_typed_error(
    tmp_path: Path, fake: FakeOpenAI, fault: str, kind: type[GenerationError], words: str
) -> None:
    fake.fault = fault
    async with opened(tmp_path, fake.url) as generator:
        with pytest.raises(GenerationError, match=words) as caught:
            await generator.complete(ask(LONG))
        assert type(caught.value) is kind
        assert generator.running == 0
        fake.fault = ""
        assert (await generator.complete(ask("still alive"))).text == "still alive"


async def test_an_answer_that_dribbles_ends_at_the_deadline(tmp_path: Path, fake: FakeOpenAI) -> None:
    fake.token_delay_s = 0.2
    async with opened(tmp_path, fake.url, timeout_s=0.5) as generator:
        got: list[str] = []

        async def read() -> None:
            async for chunk in generator.stream(ask(LONG)):
                got.append(chunk.text)

        with pytest.raises(GenerationTimeoutError, match="not done within"):
            await read()
    assert 1 <= len(got) < 10


async def test_a_reader_that_leaves_closes_the_upstream_request(tmp_path: Path, fake: FakeOpenAI) -> None:
    fake.token_delay_s = 0.05
    async with opened(tmp_path, fake.url) as generator:

        async def read() -> None:
            async for _ in generator.stream(ask(" ".join(["word"] * 400))):
                pass

        task = asyncio.create_task(read())
        while not (fake.calls and fake.calls[0].sent >= 2):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(1.0):
            while fake.calls[0].ended != "left":
                await asyncio.sleep(0.01)
        assert generator.running == 0
    assert fake.calls[0].sent < 100


async def test_beyond_its_concurrency_it_refuses(tmp_path: Path, fake: FakeOpenAI) -> None:
    fake.token_delay_s = 0.05
    async with opened(tmp_path, fake.url, concurrency=1) as generator:
        first = generator.stream(ask(LONG))
        await anext(first)
        with pytest.raises(QueueFullError):
            await generator.complete(ask(LONG))
        await first.aclose()
        assert (await generator.complete(ask("free again"))).text == "free again"


async def test_the_next_replica_answers_for_one_that_is_away(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with serve(FakeOpenAI(fault="503")) as ill:
        urls = f"{ill.url},{fake.url},http://127.0.0.1:9"
        async with opened(tmp_path, urls, model=MODEL) as generator:
            for number in range(12):
                done = await generator.complete(ask(f"question {number} of twelve"))
                assert done.usage is not None
                assert done.usage.replica == fake.url
            assert await generator.check() == f"{MODEL} on 2 of 3 replicas"


async def test_all_replicas_away_names_each_of_them(tmp_path: Path) -> None:
    async with opened(tmp_path, "http://127.0.0.1:9,http://127.0.0.1:19", model="m") as generator:
        with pytest.raises(GenerationUnavailableError, match=r"(?s)127.0.0.1:1?9.*127.0.0.1:1?9"):
            await generator.complete(ask("anyone?"))
        with pytest.raises(GenerationUnavailableError):
            await generator.check()


async def test_a_server_of_another_model_is_not_ready(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with opened(tmp_path, fake.url, model="other") as generator:
        with pytest.raises(GenerationUnavailableError, match=f"serves {MODEL}, not other"):
            await generator.check()


async def test_tokens_are_counted_by_the_server_or_bounded_by_bytes(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with opened(tmp_path, fake.url) as generator:
        counted = await generator.count_tokens(["one two three", "", "four"])
        assert (counted.counts, counted.exact) == ((3, 0, 1), True)
        fake.fault = "garbled-tokenize"
        with pytest.raises(GarbledAnswerError):
            await generator.count_tokens(["x"])
        fake.fault = "no-tokenize"
        bounded = await generator.count_tokens(["é", "四个字词"])
        assert (bounded.counts, bounded.exact) == ((2, 12), False)


async def test_a_tokenizer_file_counts_without_the_server(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    async with opened(tmp_path, "http://127.0.0.1:9", model="m", tokenizer=str(tmp_path)) as generator:
        assert (await generator.count_tokens(["a a b", "a"])).counts == (3, 1)
    with pytest.raises(SettingsError, match=r"generation\.tokenizer"):
        open_generator(
            GenerationSettings(url="http://127.0.0.1:9", tokenizer=str(tmp_path / "none")), tmp_path
        )
