"""Streams of questions with the passages that the service finds for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.prefix_cache.questions import QUESTIONS
from indexing.settings import Settings, load_settings
from retrieval.generation.prompts import ContextPassage, pack
from retrieval.generation.prompts.packing import CountTokens
from retrieval.generation.prompts.sections import section_reach, widen
from retrieval.records import SearchRequest, SearchResult
from retrieval.search import Searcher

Stream = Literal["same document", "conversation", "whole corpus"]
Unit = Literal["window", "section"]
STREAMS: tuple[Stream, ...] = ("same document", "conversation", "whole corpus")
UNITS: tuple[Unit, ...] = ("section", "window")


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

    Same document and conversation search within the document; a reader has it
    open.  The whole-corpus stream searches everything, in a shuffled order.

    Args:
        home: a folder where ``python -m indexing pydoc`` has run.
        budget: tokens of passages.
        documents: how many of the documents to take.
    """
    settings = load_settings(home=home, rerank={"model": "none"})
    asked = [(name, text) for name in list(QUESTIONS)[:documents] for text in QUESTIONS[name]]
    made: list[Ask] = []
    async with await Searcher.open(settings) as searcher:
        for stream in streams:
            order = list(asked)
            if stream == "whole corpus":
                random.Random(17).shuffle(order)  # noqa: S311
            for name, text in order:
                document = None if stream == "whole corpus" else f"python-{name}"
                results = await _search(searcher, text, document)
                turn = QUESTIONS[name].index(text) + 1 if stream == "conversation" else 1
                for unit in units:
                    passages = await _passages(settings, searcher, results, unit)
                    packed = await pack(passages, budget, count)
                    made.append(Ask(stream, unit, name, turn, text, packed.passages))
    return made


async def _search(searcher: Searcher, question: str, document: str | None) -> list[SearchResult]:
    chosen = None if document is None else {"doc_id": document}
    return list((await searcher.search(SearchRequest(question, filter=chosen))).results)


async def _passages(
    settings: Settings, searcher: Searcher, results: list[SearchResult], unit: Unit
) -> list[ContextPassage]:
    if unit == "window":
        return [ContextPassage.of(result, rank) for rank, result in enumerate(results, start=1)]
    places = [(one.doc_id, one.version, one.ordinal) for one in results]
    windows = await asyncio.to_thread(searcher.catalog.windows, "default", places, section_reach())
    return widen(results, windows)
