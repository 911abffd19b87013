"""The dense side's weight in hybrid search, chosen by labelled questions.

Fusion follows each side's scores from question to question (``retrieval.confidence``), but no
score says that one side has nothing to add to a whole collection.  Labels do.  Every weight asks the
live index the same questions; a weight is called better only by questions that did not choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from distill.errors import DistillError
from distill.queries.text import normal
from distill.records import slice_of
from distill.training.dev import DevList
from indexing.records import DEFAULT_TENANT
from indexing.settings import Section
from retrieval.metrics import evaluate
from retrieval.records import SearchRequest, SearchResponse, SearchResult
from retrieval.significance import randomisation_test

MEASURE = "NDCG@10"
_DEPTH = 10
# Passages of one document count once, so more are asked for than are judged.
_RESULTS = 50


class FusionSettings(Section):
    """How the weight is chosen."""

    tenant: str = Field(DEFAULT_TENANT, min_length=1)
    steps: int = Field(10, ge=1, le=100, description="weights tried between 0 and 1, plus one")
    folds: int = Field(
        5, ge=2, description="parts of the questions; each is measured by the choice of the others"
    )
    min_queries: int = Field(20, ge=4, description="fewer labelled questions prove nothing and are refused")
    alpha: float = Field(0.05, gt=0, lt=1, description="a gain whose p is above it changes nothing")
    seed: int = 0


class Search(Protocol):
    """The part of :class:`retrieval.search.Searcher` that is asked."""

    async def search(self, request: SearchRequest) -> SearchResponse: ...


@dataclass(frozen=True, slots=True)
class Weighed:
    """One weight over all questions: NDCG@10 each, and the share of first-ten passages with a label."""

    scores: tuple[float, ...]
    judged: float

    @property
    def mean(self) -> float:
        return fmean(self.scores)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the labels say.

    Attributes:
        current: the weight in service.
        best: the weight of the highest mean over all questions, the nearest to ``current`` of equals.
        before: mean NDCG@10 of ``current``.
        held_out: mean NDCG@10 where each fold is searched with what the other folds chose.
        questions: how many there are.
        p: of ``held_out`` against ``before``, two-sided paired randomisation.
        weight: ``best`` if the held-out gain is above 0 and ``p`` at most alpha, else ``current``.
    """

    current: float
    best: float
    before: float
    held_out: float
    questions: int
    p: float
    weight: float


async def weigh(
    search: Search, pools: Sequence[DevList], tenant: str, asked: Callable[[], None] = lambda: None
) -> Weighed:
    """Return how well ``search`` ranks the labelled passages; what has no label gains nothing, as in TREC.

    Args:
        search: hybrid search with one weight, no reranker.
        pools: questions with their labelled passages: a document's id, or ``DOC#START-END``.
        tenant: whose documents.
        asked: called after each question.
    """
    run: dict[str, dict[str, float]] = {}
    qrels: dict[str, dict[str, int]] = {}
    judged: list[float] = []
    for pool in pools:
        gains = dict(zip(pool.doc_ids, pool.gains, strict=True))
        response = await search.search(
            SearchRequest(pool.query, tenant=tenant, mode="hybrid", top_n=_RESULTS, rerank=False)
        )
        named = names(response.results, gains)[:_DEPTH]
        run[pool.key] = {name: float(-place) for place, name in enumerate(named)}
        qrels[pool.key] = gains
        judged.append(sum(name in gains for name in named) / len(named) if named else 0.0)
        asked()
    found = evaluate(run, qrels, [MEASURE]).per_query[MEASURE]
    return Weighed(tuple(found[pool.key] for pool in pools), fmean(judged))


def names(results: Sequence[SearchResult], gains: Mapping[str, int]) -> list[str]:
    """Return results by the names of their labelled passages, best first, each once.

    A result is a labelled document, or the labelled slice that holds its
    sentence; of several such slices the one that gains most.  What has no
    label keeps a name of its own: its point's id where slices are labelled,
    else its document's.
    """
    slices: dict[str, list[tuple[int, int, str]]] = {}
    for name in gains:
        if found := slice_of(name):
            doc_id, start, end = found
            slices.setdefault(doc_id, []).append((start, end, name))
    ranked: dict[str, None] = {}
    for one in results:
        holding = [
            name for start, end, name in slices.get(one.doc_id, ()) if start <= one.start and one.end <= end
        ]
        if one.doc_id in gains:
            holding.append(one.doc_id)
        own = one.id if slices else one.doc_id
        ranked.setdefault(max(holding, key=lambda name: (gains[name], name), default=own))
    return list(ranked)


def grid(steps: int, current: float) -> list[float]:
    """Return the weights to try, ascending: ``steps + 1`` from 0 to 1, and the one in service."""
    return sorted({round(step / steps, 4) for step in range(steps + 1)} | {current})


def numbered(questions: Sequence[str], settings: FusionSettings) -> npt.NDArray[np.intp]:
    """Return each list's question as a number from 0, the same question as the same number.

    Raises:
        DistillError: fewer than ``settings.min_queries`` questions.
    """
    distinct, asked = np.unique([normal(one) for one in questions], return_inverse=True)
    if len(distinct) < settings.min_queries:
        raise DistillError(
            f"{len(distinct)} labelled questions whose passages differ in relevance; "
            f"at least {settings.min_queries} are needed"
        )
    return asked


def choose(
    weighed: Mapping[float, Weighed], questions: Sequence[str], current: float, settings: FusionSettings
) -> Choice:
    """Return the weight that the questions choose, and what it is worth on questions that did not choose it.

    Args:
        weighed: weight -> its scores, one a list of labelled passages.
        questions: each list's; lists of the same question are in the same fold.
        current: the weight in service, one of ``weighed``.
        settings: how many folds, and how sure.

    Raises:
        DistillError: see :func:`numbered`.
    """
    asked = numbered(questions, settings)
    count = int(asked.max()) + 1
    weights = sorted(weighed, key=lambda weight: (abs(weight - current), weight))
    table = np.array([weighed[weight].scores for weight in weights])  # (weights, questions)
    before = table[weights.index(current)]
    fold = np.random.default_rng(settings.seed).permutation(count)[asked] % settings.folds
    held_out = np.empty(len(asked))
    for number in range(settings.folds):
        inside = fold == number
        held_out[inside] = table[_best(table[:, ~inside]), inside]
    best = weights[_best(table)]
    p = randomisation_test(list(held_out), list(before), settings.seed)
    better = held_out.mean() > before.mean() and p <= settings.alpha
    return Choice(
        current=current,
        best=best,
        before=float(before.mean()),
        held_out=float(held_out.mean()),
        questions=count,
        p=p,
        weight=best if better else current,
    )


def _best(table: npt.NDArray[np.float64]) -> int:
    """Row of the highest mean; of equal rows the first, which is nearest to the weight in service."""
    return int(np.argmax(table.mean(axis=1).round(9)))
