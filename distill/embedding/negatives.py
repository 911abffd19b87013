"""Training rows of queries, positives and mined hard negatives, with false negatives filtered.

sentence-transformers' ``mine_hard_negatives`` prints to stdout, and leaves out
a query that has too few negatives; its GIST loss, which masks in-batch false
negatives, runs the guide at every step and takes one negative a query.  Here
the guide encodes every text once, and its vectors serve both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.embedding.search import Encoder
from distill.embedding.sets import RetrievalSet
from distill.embedding.settings import NegativeSettings
from distill.errors import TrainingError
from indexing.records import FloatArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of several sets under running numbers.

    Attributes:
        queries, documents: the texts; a document's number is its place here.
        relevant: per query, the numbers of its relevant documents.
        span: per query, the half-open range of its own set's documents.
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...]
    span: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One training example, as numbers of a query and of documents."""

    query: int
    positive: int
    negatives: tuple[int, ...]


def number_texts(sets: Sequence[RetrievalSet], *, whole_corpus: bool) -> Texts:
    """Return the texts of ``sets``; without ``whole_corpus`` only relevant documents are among them."""
    queries: list[str] = []
    documents: list[str] = []
    relevant: list[tuple[int, ...]] = []
    span: list[tuple[int, int]] = []
    for one in sets:
        wanted = {doc_id for grades in one.relevant.values() for doc_id in grades}
        kept = [doc_id for doc_id in sorted(one.corpus) if whole_corpus or doc_id in wanted]
        number = {doc_id: len(documents) + at for at, doc_id in enumerate(kept)}
        first = len(documents)
        documents += [one.corpus[doc_id] for doc_id in kept]
        for query_id, text in one.queries.items():
            queries.append(text)
            relevant.append(tuple(number[doc_id] for doc_id in one.relevant[query_id]))
            span.append((first, len(documents)))
    return Texts(tuple(queries), tuple(documents), tuple(relevant), tuple(span))


class Guide:
    """A frozen encoder's opinion of every training text.

    Attributes:
        queries: unit vectors ``(n_queries, dimensions)``.
        documents: unit vectors ``(n_documents, dimensions)``.
    """

    def __init__(self, texts: Texts, queries: FloatArray, documents: FloatArray, *, margin: float) -> None:
        self.texts = texts
        self.queries = queries
        self.documents = documents
        self._margin = margin

    @classmethod
    def of(cls, encoder: Encoder, texts: Texts, *, margin: float) -> Guide:
        """Return the guide after encoding every text of ``texts`` with ``encoder``."""
        return cls(
            texts,
            encoder.encode_queries(texts.queries),
            encoder.encode_documents(texts.documents),
            margin=margin,
        )

    def bound(self, query: int, positive: int) -> float:
        """Return the highest cosine that a negative of this pair may have.

        ``p - margin * |p|`` for the positive's cosine p: TopK-PercPos of
        Moreira et al., "NV-Retriever", 2024 (arXiv 2407.15831), who kept
        negatives below 95% of the positive.
        """
        score = float(self.queries[query] @ self.documents[positive])
        return score - self._margin * abs(score)

    def false_negatives(self, rows: Sequence[Row]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Return which documents of a batch may not be negatives of which query.

        ``(batch, batch * (1 + n_negatives))`` in the order of
        sentence-transformers' losses: all positives, then all first negatives,
        and so on.  A query's own positive is False.
        """
        columns = [[row.positive for row in rows], *zip(*(row.negatives for row in rows), strict=True)]
        numbers = np.asarray([number for column in columns for number in column])
        scores = self.queries[[row.query for row in rows]] @ self.documents[numbers].T
        bounds = np.asarray([self.bound(row.query, row.positive) for row in rows])
        found = scores > bounds[:, None]
        for at, row in enumerate(rows):
            found[at] |= np.isin(numbers, self.texts.relevant[row.query])
            found[at, at] = False
        return np.asarray(found, dtype=np.bool_)


def mine(guide: Guide, settings: NegativeSettings) -> list[Row]:
    """Return one row for each query and relevant document, with ``settings.count`` negatives.

    The negatives are the guide's best documents of the query's own set that
    are not relevant, hold no relevant document's text, and stay under the
    bound of the margin; ``skip_top`` of them are passed over.  A query for
    which too few are left is not trained on.

    Raises:
        TrainingError: no query has enough negatives.
    """
    texts = guide.texts
    rows: list[Row] = []
    short = 0
    for query, relevant in enumerate(texts.relevant):
        order, scores = _ranking(guide, query) if settings.count else ([], np.zeros(0))
        known = {texts.documents[number] for number in relevant}
        first = texts.span[query][0]
        for positive in relevant:
            bound = guide.bound(query, positive)
            chosen: list[int] = []
            skipped = 0
            for number in order:
                if len(chosen) == settings.count:
                    break
                if scores[number - first] > bound or texts.documents[number] in known:
                    continue
                if skipped < settings.skip_top:
                    skipped += 1
                    continue
                chosen.append(number)
            if len(chosen) < settings.count:
                short += 1
            else:
                rows.append(Row(query, positive, tuple(chosen)))
    if short:
        log.warning("%d pairs left out: fewer than %d negatives under the margin", short, settings.count)
    if not rows:
        raise TrainingError(
            f"no training pair has {settings.count} negatives under the margin of {settings.margin}; "
            "add passages to the corpus, or lower negatives.count or negatives.margin"
        )
    return rows


def _ranking(guide: Guide, query: int) -> tuple[list[int], FloatArray]:
    """Return the numbers of the query's own set, best first, and the scores of that set."""
    first, last = guide.texts.span[query]
    scores = guide.documents[first:last] @ guide.queries[query]
    return [first + int(at) for at in np.argsort(-scores, kind="stable")], scores
