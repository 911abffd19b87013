"""Streams of questions with the passages that the service finds for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.prefix_cache.questions import QUESTIONS
from indexing.catalog.records import Window
from indexing.records import DEFAULT_TENANT
from indexing.settings import load_settings
from retrieval.generation.prompts import ContextPassage, ReadWindows, gather_passages, pack
from retrieval.generation.prompts.packing import CountTokens
from retrieval.generation.protocol import PassageUnit
from retrieval.records import SearchRequest, SearchResponse
from retrieval.search import Searcher

Stream = Literal["same document", "conversation", "whole corpus"]
Unit = Literal["window", "section"]
STREAMS: tuple[Stream, ...] = ("same document", "conversation", "whole corpus")
UNITS: tuple[Unit, ...] = ("section", "window")
_SHOWN: dict[Unit, PassageUnit] = {"section": "sections", "window": "windows"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One question; ``turn`` counts from 1 in a conversation and is 1 elsewhere."""

    stream: Stream
    unit: Unit
    document: str
    turn: int
    question: str
    passages: tuple[ContextPassage, ...]

    @property
    def answer(self) -> str:
        """A stand-in for the reply, the same for every layout: the best passage's beginning."""
        return f"{self.passages[0].text[:160].strip()} [1]" if self.passages else "NOT IN THE DOCUMENTS"


Find = Callable[[SearchRequest], Awaitable[SearchResponse]]


async def make_streams(
    home: Path,
    count: CountTokens,
    *,
    budget: int,
    documents: int,
    streams: Sequence[Stream] = STREAMS,
    units: Sequence[Unit] = UNITS,
) -> list[Ask]:
    """Return the questions in the order in which they are asked.

    Args:
        home: a folder where ``python -m indexing pydoc`` has run.
        budget: tokens of passages.
        documents: how many of the documents to take.
    """
    settings = load_settings(home=home, rerank={"model": "none"})
    asked = {name: QUESTIONS[name] for name in list(QUESTIONS)[:documents]}
    async with await Searcher.open(settings) as searcher:

        async def read(tenant: str, points: Sequence[str], size: int) -> list[Window | None]:
            return await asyncio.to_thread(searcher.catalog.windows, tenant, points, size)

        return await make_asks(
            asked, searcher.search, read, count, budget=budget, streams=streams, units=units
        )


async def make_asks(
    questions: Mapping[str, Sequence[str]],
    search: Find,
    read: ReadWindows,
    count: CountTokens,
    *,
    budget: int,
    streams: Sequence[Stream] = STREAMS,
    units: Sequence[Unit] = UNITS,
) -> list[Ask]:
    """Return the questions, by document, with the passages that the service would send.

    Same document and conversation search within the document; a reader has it
    open.  The whole-corpus stream searches everything, in a shuffled order.
    Results become passages by the functions that the service calls.
    """
    made: list[Ask] = []
    for stream in streams:
        order = [(name, turn, text) for name in questions for turn, text in enumerate(questions[name], 1)]
        if stream == "whole corpus":
            random.Random(17).shuffle(order)  # noqa: S311
        for name, turn, text in order:
            chosen = None if stream == "whole corpus" else {"doc_id": f"python-{name}"}
            results = (await search(SearchRequest(text, filter=chosen))).results
            for unit in units:
                found = await gather_passages(results, _SHOWN[unit], tenant=DEFAULT_TENANT, read=read)
                packed = await pack(found, budget, count)
                place = turn if stream == "conversation" else 1
                made.append(Ask(stream, unit, name, place, text, packed.passages))
    return made
