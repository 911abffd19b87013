"""The dev split: what the checkpoint is chosen by, and where a collapse is seen."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill.embedding.search import MEASURES, NDCG, ModelEncoder, Vectors
from distill.embedding.sets import RetrievalSet
from distill.errors import CollapseError, TrainingError
from indexing.errors import VectorError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

_LEAST_QUERIES = 2
_FEW_QUERIES = 30


@dataclass(frozen=True, slots=True)
class Look:
    """One measurement of a model on judged sets.

    Attributes:
        scores: set name -> measure -> query_id -> score.
        spread: 1 - mean cosine of the passages, least over the sets.
    """

    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    spread: float

    def mean(self, measure: str = NDCG, name: str | None = None) -> float:
        """Return the mean over the queries of one set, or of all sets."""
        values = [
            score
            for one, measures in self.scores.items()
            if name in (None, one)
            for score in measures[measure].values()
        ]
        return math.fsum(values) / len(values)


def look(model: SentenceTransformer, sets: Sequence[RetrievalSet]) -> Look:
    """Return what exact search with ``model`` finds in each set.

    Raises:
        TrainingError: a vector is not finite.
    """
    encoder = ModelEncoder(model)
    scores = {}
    spreads = []
    for one in sets:
        try:
            vectors = Vectors(encoder, one)
        except VectorError as error:
            raise TrainingError(
                f"the encoder's vectors are not usable: {error}; "
                "lower schedule.learning_rate, or train in fp32"
            ) from error
        scores[one.name] = vectors.report(measures=MEASURES).per_query
        spreads.append(vectors.spread)
    return Look(scores, min(spreads))


def checked_dev(sets: Sequence[RetrievalSet], documents: int, seed: int) -> list[RetrievalSet]:
    """Return the dev sets with their corpora cut to ``documents`` passages.

    Relevant passages stay, the others are drawn by the seed.

    Raises:
        TrainingError: fewer than two queries: one query's luck would choose the checkpoint.
    """
    asked = [one for one in sets if one.queries]
    count = sum(len(one.queries) for one in asked)
    if count < _LEAST_QUERIES:
        raise TrainingError(
            f"the dev split has {count} queries, and needs {_LEAST_QUERIES} at the very least (better "
            f"{_FEW_QUERIES}): raise dev_share, or name a judged set with --dev"
        )
    if count < _FEW_QUERIES:
        log.warning("the dev split has %d queries: the choice of the checkpoint is mostly luck", count)
    return [cut_corpus(one, documents, seed) for one in asked]


def cut_corpus(given: RetrievalSet, documents: int, seed: int) -> RetrievalSet:
    """Return the set with at most ``documents`` passages; every relevant one stays."""
    wanted = {doc_id for grades in given.relevant.values() for doc_id in grades}
    others = [doc_id for doc_id in sorted(given.corpus) if doc_id not in wanted]
    drawn = set(random.Random(seed).sample(others, min(len(others), max(0, documents - len(wanted)))))  # noqa: S311
    kept = {doc_id: text for doc_id, text in given.corpus.items() if doc_id in wanted or doc_id in drawn}
    return RetrievalSet(given.name, given.queries, kept, given.relevant)


def refuse_collapsed(now: Look, base: Look, share: float) -> None:
    """Raise when the passages have drawn together into a small part of the base's spread.

    A share of the base's own spread, because an encoder trained with a low
    temperature keeps all its cosines above .7 and is none the worse for it.

    Raises:
        CollapseError: naming both spreads.
    """
    if now.spread < share * base.spread:
        raise CollapseError(
            f"the encoder gives every passage nearly the same vector: 1 - mean cosine is {now.spread:.3g}, "
            f"the base's {base.spread:.3g}, and gate.min_spread is {share} of that; lower "
            "schedule.learning_rate, raise schedule.batch_size, or look for repeated texts in the data"
        )
