"""Answers of one call and of several: what is told, what is kept, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from indexing.errors import GenerationTimeoutError, GenerationUnavailableError
from indexing.settings import GenerationSettings
from retrieval.generation.client import HttpGenerator, open_generator
from retrieval.records import SearchRequest
from serving.answering.records import AnswerRequest, Expand, Found, Piece, StageDone
from tests.fakes.answer_bench import TEXTS, Bench, result, stages, told
from tests.fakes.openai_server import FakeOpenAI, serve

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
async def test_other_response_modes_go_through_all_passages(mode: str) -> None:
    bench = Bench("The depot opens at five [2].", generation={"context_tokens": 64})
    bench.results = tuple(result(n, t + " filler" * 40) for n, t in enumerate(TEXTS))
    _, written = await bench(response_mode=mode)
    assert len(bench.model.requests) == (3 if mode == "refine" else 4)
    generate = next(stage for stage in written.receipt.stages if stage.name == "generate")
    assert generate.details["groups"] == 3
    assert written.answer.citations[0].doc_id == "doc1"
    assert written.usage is not None


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
async def test_several_calls_have_the_time_of_one_answer(mode: str) -> None:
    bench = Bench(lambda _: None, generation={"timeout_s": 0.2})
    events, written = await bench(response_mode=mode)
    assert written.receipt.degraded == ("generate: the answer was not done within 0.2 s",)
    assert written.answer.kind == "extractive"
    assert told(events) == written.answer.text


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
async def test_a_reader_that_leaves_closes_every_call(mode: str) -> None:
    bench = Bench("word " * 500_000, generation={"context_tokens": 64})
    bench.results = tuple(result(n, t + " filler" * 40) for n, t in enumerate(TEXTS))
    calls = 3 if mode == "tree_summarize" else 1
    asking = asyncio.create_task(bench(response_mode=mode))
    while len(bench.model.requests) < calls:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert bench.model.closed == calls


async def test_several_calls_leave_a_turn_that_shows_what_the_answer_cites() -> None:
    """None of the calls is the turn; what an earlier turn showed is asked in one call."""
    bench = Bench("The depot opens at five [2].", generation={"context_tokens": 64})
    bench.results = tuple(result(n, t + " filler" * 40) for n, t in enumerate(TEXTS))
    _, first = await bench(response_mode="refine")
    assert first.turn is not None
    assert [one.doc_id for one in first.turn.passages] == ["doc1"]
    bench.results = bench.results[1:2]
    asked = len(bench.model.requests)
    named = {"history": (first.turn,), "expand": Expand(rewrite=False)}
    _, again = await bench("And?", response_mode="refine", **named)
    assert len(bench.model.requests) == asked + 1
    assert [one.doc_id for one in again.answer.citations] == ["doc1"]
    assert TEXTS[1] not in bench.model.requests[-1].messages[-1].content
    assert "group" not in stages(again)


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
async def test_one_call_is_the_turn_as_it_was_sent_in_every_mode(mode: str) -> None:
    bench = Bench()
    _, first = await bench(response_mode=mode)
    assert first.turn is not None
    assert first.turn.user == bench.model.requests[0].messages[-1].content
    await bench("And?", response_mode=mode, history=(first.turn,), expand=Expand(rewrite=False))
    before, after = bench.model.requests[0].messages, bench.model.requests[-1].messages
    assert after[: len(before)] == before, "so that the cache serves the next one"


@pytest.mark.parametrize(("mode", "groups"), [("refine", 2), ("tree_summarize", 3)])
async def test_calls_before_the_last_are_stages_and_never_the_answer(mode: str, groups: int) -> None:
    replies = iter(range(1, 9))
    bench = Bench(
        lambda _: f"Draft {next(replies)}: trams run every ten minutes [1].",
        generation={"context_tokens": 64},
    )
    bench.results = tuple(result(n, t + " filler" * 40) for n, t in enumerate(TEXTS))
    events, written = await bench(response_mode=mode)
    last = f"Draft {groups + 1}: trams run every ten minutes [1]."
    assert told(events) == written.answer.text == last
    pieces = [event for event in events if isinstance(event, Piece)]
    assert len(pieces) == len(last.split()), "word by word"
    assert not any(piece.restart for piece in pieces)
    done = [one.details for one in written.receipt.stages if one.name == "group"]
    assert [(one["done"], one["groups"], one["calls"]) for one in done] == [
        (number, 3, 1) for number in range(1, groups + 1)
    ]
    order = [type(event).__name__ for event in events if not isinstance(event, Found)]
    assert order[0] == "StageDone"
    labelled = order.index("Labelled")
    # The labels first, then a stage for each group, then the answer.
    assert order[labelled + 1 : labelled + 1 + groups] == ["StageDone"] * groups
    assert set(order[labelled + 1 + groups : -3]) == {"Piece"}
    assert [event.stage.name for event in events if isinstance(event, StageDone)] == stages(written)
    assert written.usage is not None
    assert written.usage.completion_tokens == (groups + 1) * len(last.split())


@pytest.mark.parametrize(("mode", "groups"), [("refine", 2), ("tree_summarize", 3)])
async def test_a_last_call_whose_words_are_held_to_its_end_is_no_group(mode: str, groups: int) -> None:
    """What could become a link is told when nothing more comes, before the call counts as over."""
    bench = Bench(
        lambda _: "[1]" if len(bench.model.requests) > groups else "Trams run [1].",
        generation={"context_tokens": 64},
    )
    bench.results = tuple(result(n, t + " filler" * 40) for n, t in enumerate(TEXTS))
    events, written = await bench(response_mode=mode)
    assert told(events) == "[1]"
    assert stages(written).count("group") == groups


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
async def test_a_last_call_that_fails_half_way_starts_over_with_quotes(mode: str) -> None:
    """Of an answer that was begun nothing is left; so it is in every mode."""
    bench = Bench(generation={"context_tokens": 64})
    bench.results = tuple(result(n, t + " filler" * 40) for n, t in enumerate(TEXTS))
    calls = 3 if mode == "refine" else 4

    def reply(request: object) -> str:
        if len(bench.model.requests) == calls:
            bench.model.fail_after, bench.model.failure = 3, GenerationTimeoutError("stalled")
        return "Trams run every ten minutes [1]."

    bench.model.reply = reply
    events, written = await bench(response_mode=mode)
    assert [event.restart for event in events if isinstance(event, Piece)][-1]
    assert told(events) == written.answer.text
    assert written.answer.kind == "extractive"
    assert written.receipt.degraded == ("generate: stalled",)


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
async def test_what_the_caller_adds_reaches_the_model_in_every_mode(mode: str) -> None:
    bench = Bench()
    await bench(response_mode=mode, system="Answer like a pirate. {not a template}")
    for request in bench.model.requests:
        assert request.messages[0].content.endswith("Answer like a pirate. {not a template}")


# ── over HTTP ─────────────────────────────────────────────────────────────

CALLS = [("compact", 1), ("refine", 3), ("tree_summarize", 4)]


@contextlib.asynccontextmanager
async def over_http(
    tmp_path: Path, mode: str, **settings: object
) -> AsyncIterator[tuple[FakeOpenAI, HttpGenerator, Bench]]:
    """A server, the service's own client of it, and a writer; several calls have a group each."""
    async with serve(FakeOpenAI(reply=lambda body: "Trams run every ten minutes [1].")) as fake:
        limits = {"url": fake.url, "context_tokens": 3000 if mode == "compact" else 64, **settings}
        model = open_generator(GenerationSettings.model_validate(limits), tmp_path)
        assert model is not None
        bench = Bench(model=model, generation=limits)
        bench.results = tuple(result(n, t + " filler" * 40) for n, t in enumerate(TEXTS))
        try:
            yield fake, model, bench
        finally:
            await model.aclose()


@pytest.mark.parametrize(("mode", "calls"), CALLS)
async def test_a_reader_that_leaves_an_answer_ends_the_request(tmp_path: Path, mode: str, calls: int) -> None:
    async with over_http(tmp_path, mode) as (fake, model, bench):

        def reply(body: object) -> str:
            return "word " * 100_000 if len(fake.calls) == calls else "Trams run every ten minutes [1]."

        fake.reply = reply
        asked = AnswerRequest(SearchRequest("How often?"), response_mode=mode)  # type: ignore[arg-type]
        events = bench.writer.write(asked)
        async for event in events:
            if isinstance(event, Piece):
                break
        await events.aclose()
        assert model.running == 0
        async with asyncio.timeout(5):
            while fake.calls[-1].ended == "running":
                await asyncio.sleep(0.01)
        assert [call.ended for call in fake.calls] == ["done"] * (calls - 1) + ["left"]


@pytest.mark.parametrize(("mode", "calls"), CALLS)
async def test_a_model_too_slow_for_the_whole_answer_is_known_to_the_client(
    tmp_path: Path, mode: str, calls: int
) -> None:
    """The client itself notes the failure, in whichever call the time ends, so that ``/ready`` asks again."""
    async with over_http(tmp_path, mode, timeout_s=1.5) as (fake, model, bench):

        def reply(body: object) -> str:
            fake.token_delay_s = 0.4 if len(fake.calls) == calls else 0.0
            return "word " * 50 if len(fake.calls) == calls else "Trams run [1]."

        fake.reply = reply
        _, written = await bench(response_mode=mode)
        assert written.receipt.degraded == ("generate: the answer was not done within 1.5 s",)
        assert written.answer.kind == "extractive"
        assert len(fake.calls) == calls
        fake.fault, fake.reply = "503", None
        with pytest.raises(GenerationUnavailableError):
            await model.check()


@pytest.mark.parametrize(("mode", "calls"), CALLS)
async def test_usage_is_the_servers_own_of_every_call(tmp_path: Path, mode: str, calls: int) -> None:
    async with over_http(tmp_path, mode) as (fake, _, bench):
        _, written = await bench(response_mode=mode)
        assert len(fake.calls) == calls
        generate = next(stage for stage in written.receipt.stages if stage.name == "generate")
        assert generate.details["calls"] == calls
        assert written.usage is not None
        assert written.usage.completion_tokens == 6 * calls
        assert written.usage.first_token_ms is not None
