"""Kept answers: the same question over the same documents, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexing.errors import GenerationUnavailableError
from indexing.settings import ExpansionSettings, GenerationSettings
from retrieval.generation.protocol import Message
from retrieval.records import SearchRequest
from serving.answering.cache import AnswerCache
from serving.answering.records import AnswerRequest, Expand, Piece, Written
from serving.answering.writer import AnswerWriter
from tests.fakes.answer_bench import TEXTS, Bench, no_windows, result

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Cached(Bench):
    def __init__(self, size: int = 8, **settings: object) -> None:
        super().__init__(generation=settings)
        self.revision = 1
        self.reranker: str | None = None
        self.cache = AnswerCache(size, self.revised, lambda: self.reranker)
        self.writer = AnswerWriter(
            *(self.search, self.model, GenerationSettings(**settings), ExpansionSettings()),
            *(no_windows, self.cache),
        )

    async def revised(self, tenant: str) -> int:
        return self.revision

    async def ask(self, request: AnswerRequest) -> Written:
        events = [event async for event in self.writer.write(request)]
        assert isinstance(events[-1], Written)
        told = "".join(event.text for event in events if isinstance(event, Piece))
        assert told == events[-1].answer.text
        return events[-1]


QUESTION = AnswerRequest(SearchRequest("How often?", tenant="acme", filter={"year": 2024}))


async def test_the_same_question_is_answered_from_memory() -> None:
    bench = Cached()
    first, second = await bench.ask(QUESTION), await bench.ask(QUESTION)
    assert (first.cached, second.cached) == (False, True)
    assert (second.answer, second.results) == (first.answer, first.results)
    assert second.usage is None
    assert [stage.name for stage in second.receipt.stages] == ["cache"]
    assert len(bench.model.requests) == len(bench.searches) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(QUESTION, search=replace(QUESTION.search, query="How often? ")),
        replace(QUESTION, search=replace(QUESTION.search, tenant="other")),
        replace(QUESTION, search=replace(QUESTION.search, filter={"year": 2023})),
        replace(QUESTION, search=replace(QUESTION.search, top_n=3)),
        replace(QUESTION, expand=Expand(decompose=True)),
        replace(QUESTION, response_mode="refine"),
        replace(QUESTION, passages="windows"),
        replace(QUESTION, system="Be brief."),
    ],
)
async def test_any_other_question_is_not(other: AnswerRequest) -> None:
    bench = Cached()
    await bench.ask(QUESTION)
    assert not (await bench.ask(other)).cached


async def test_a_changed_document_or_reranker_never_serves_an_old_answer() -> None:
    bench = Cached()
    await bench.ask(QUESTION)
    bench.revision += 1
    bench.results = (result(0, TEXTS[1]),)
    bench.model.reply = "The depot opens at five [1]."
    second = await bench.ask(QUESTION)
    assert not second.cached
    assert second.answer.text == "The depot opens at five [1]."
    bench.reranker = "new"
    assert not (await bench.ask(QUESTION)).cached


@pytest.mark.parametrize(
    "fields",
    [{"cache": False}, {"generate": False}, {"temperature": 0.7}, {"said": (Message("user", "x"),)}],
)
async def test_what_is_meant_to_differ_is_not_kept(fields: dict[str, object]) -> None:
    bench = Cached()
    request = replace(QUESTION, expand=Expand(rewrite=False), **fields)
    await bench.ask(request)
    assert not (await bench.ask(request)).cached


async def test_a_degraded_answer_is_not_kept() -> None:
    bench = Cached()
    bench.model.reply = GenerationUnavailableError("away")
    assert (await bench.ask(QUESTION)).answer.kind == "extractive"
    bench.model.reply = "Trams run every ten minutes [1]."
    assert (await bench.ask(QUESTION)).answer.kind == "generated"


async def test_the_least_used_goes_first() -> None:
    bench = Cached(size=2)
    first, second, third = (
        replace(QUESTION, search=replace(QUESTION.search, query=f"question {number}?")) for number in range(3)
    )
    for request in (first, second, first, third):
        await bench.ask(request)
    assert (await bench.ask(first)).cached
    assert not (await bench.ask(second)).cached
