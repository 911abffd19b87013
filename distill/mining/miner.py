"""Candidates of each query from the live index, hard negatives among them."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import anyio.to_thread

from distill.mining.negatives import false_negatives, same_passage, sample_hard
from distill.mining.rows import MinedList
from distill.mining.settings import MiningSettings
from distill.queries.files import QueryRow
from distill.queries.text import normal
from distill.records import CandidateList, Passage
from retrieval.records import SearchRequest, SearchResponse, SearchResult

logger = logging.getLogger(__name__)

Score = Callable[[str, Sequence[str]], Sequence[float]]


class Search(Protocol):
    """The part of :class:`retrieval.search.Searcher` that mining needs."""

    async def search(self, request: SearchRequest) -> SearchResponse: ...


@dataclass(slots=True)
class MiningReport:
    """What mining did, in counts."""

    queries: int = 0
    candidates: int = 0
    duplicates: int = 0
    false_negatives: int = 0
    added_positives: int = 0
    empty: int = 0


async def mine(
    queries: Sequence[QueryRow],
    searcher: Search,
    settings: MiningSettings,
    report: MiningReport,
    score: Score | None = None,
) -> AsyncIterator[MinedList]:
    """Yield each query's candidates, in the order of the queries; ``report`` is kept up to date.

    The hybrid search's ``top_k`` without reranking, the first ``each_side`` of
    either side, then a seeded sample of the ranks below.  Equal texts count
    once.  A known positive that the search missed is put at the end.  With
    ``score`` (a student's or teacher's, called in a thread) every candidate
    gets its ``student`` signal, and with a margin the false negatives go.

    Candidates are named ``DOC#START-END``: the slice of the document's text
    that was shown.
    """
    for row in queries:
        response = await searcher.search(_request(row, settings))
        found = _distinct(row, response.results, report)
        mined = found.keep(_chosen(found, row, settings))
        mined = _with_positives(mined, row, report)
        if score is not None and mined.candidates.passages:
            texts = [passage.text for passage in mined.candidates.passages]
            scores = await anyio.to_thread.run_sync(score, row.query.text, texts)
            mined = _scored(mined, tuple(map(float, scores)), settings.margin, report)
        report.queries += 1
        report.candidates += len(mined.candidates.passages)
        if mined.candidates.passages:
            yield mined
        else:
            report.empty += 1
            logger.warning("mine_empty id=%s", row.query.query_id)


def _request(row: QueryRow, settings: MiningSettings) -> SearchRequest:
    return SearchRequest(
        row.query.text,
        tenant=settings.tenant,
        mode="hybrid",
        top_n=settings.depth,
        rerank=False,
        window_size=settings.window_size,
    )


def _distinct(row: QueryRow, results: Sequence[SearchResult], report: MiningReport) -> MinedList:
    seen: set[str] = set()
    kept: list[SearchResult] = []
    for result in results:
        key = normal(result.window)
        if key in seen:
            report.duplicates += 1
        else:
            seen.add(key)
            kept.append(result)
    return MinedList(
        CandidateList(
            row.query,
            tuple(Passage(f"{one.doc_id}#{one.window_start}-{one.window_end}", one.window) for one in kept),
            tuple(one.score for one in kept),
        ),
        {
            "score": tuple(one.score for one in kept),
            "dense": tuple(math.nan if one.scores.dense is None else one.scores.dense for one in kept),
            "sparse": tuple(math.nan if one.scores.sparse is None else one.scores.sparse for one in kept),
        },
        tuple(range(1, len(kept) + 1)),
    )


def _chosen(found: MinedList, row: QueryRow, settings: MiningSettings) -> list[int]:
    """Places of the head, of each side's best and of the drawn hard negatives, in rank order."""
    chosen = {place for place, rank in enumerate(found.ranks) if rank <= settings.top_k}
    low = max(settings.from_rank, settings.top_k + 1)
    seed = f"{settings.seed}/{row.query.query_id}"
    chosen |= set(
        sample_hard(found.ranks, low=low, high=settings.to_rank, count=settings.hard_negatives, seed=seed)
    )
    for side in ("dense", "sparse"):
        scores = found.signals[side]
        ranked = sorted(
            (place for place, one in enumerate(scores) if not math.isnan(one)),
            key=lambda place: -scores[place],
        )
        chosen |= set(ranked[: settings.each_side])
    return sorted(chosen)


def _with_positives(mined: MinedList, row: QueryRow, report: MiningReport) -> MinedList:
    """Mark the candidates that overlap the known answer; add it when there is none."""
    if row.positive is None:
        return mined
    one = mined.candidates
    hits = tuple(passage.doc_id for passage in one.passages if same_passage(passage, row.positive))
    if hits:
        return replace(mined, positives=hits)
    report.added_positives += 1
    return MinedList(
        CandidateList(one.query, (*one.passages, row.positive), None),
        {name: (*values, math.nan) for name, values in mined.signals.items()},
        (*mined.ranks, (mined.ranks[-1] if mined.ranks else 0) + 1),
        (row.positive.doc_id,),
    )


def _scored(
    mined: MinedList, scores: tuple[float, ...], margin: float | None, report: MiningReport
) -> MinedList:
    mined = replace(mined, signals={**mined.signals, "student": scores})
    if margin is None:
        return mined
    known = set(mined.positives)
    places = [i for i, passage in enumerate(mined.candidates.passages) if passage.doc_id in known]
    wrong = set(false_negatives(scores, places, margin=margin))
    report.false_negatives += len(wrong)
    return mined.keep([i for i in range(len(scores)) if i not in wrong]) if wrong else mined
