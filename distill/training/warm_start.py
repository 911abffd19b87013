"""Questions with the passage that answers each, as lists with mined negatives: a base reranker's data.

The layout ``pairs``: ``{"query_id", "query", "doc_id", "text"}`` rows, and a
corpus of ``{"_id", "text"}`` rows to mine in (without one: the pairs' own
passages).
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.records import LabelledList, Passage, Query
from indexing.encoders.bm25 import Bm25Encoder
from indexing.errors import InputError
from indexing.records import FloatArray

if TYPE_CHECKING:
    from distill.training.settings import SourceSettings

log = logging.getLogger(__name__)

TEACHER = "pairs"
# Candidates looked at on each side: enough for the negatives wanted and those left out.
_DEPTH = 100


def pairs_as_lists(settings: SourceSettings, *, seed: int) -> list[LabelledList]:
    """Return one list per question: its answers with score 1, mined negatives with score 0.

    Negatives are BM25's best passages (and, mined ``hybrid``, the shipped
    encoder's), in turn, without the question's own answers and equal texts,
    without the ``skip_top`` best of each side, and without passages that the
    encoder finds nearly as close as the answer (``margin``): those are often
    answers that nobody marked.  Where too few are left, passages at random.

    Source of the margin: Moreira et al., "NV-Retriever", 2024 (TopK-PercPos).

    Raises:
        InputError: a file that cannot be read, a row without a field, an answer
            that is not in the corpus.
    """
    rows = list(_rows(settings.path, ("query_id", "query", "doc_id", "text")))
    corpus = {row["doc_id"]: row["text"] for row in rows}
    if settings.corpus is not None:
        corpus |= {row["_id"]: row["text"] for row in _rows(settings.corpus, ("_id", "text"))}
    answers: dict[str, list[str]] = {}
    queries: dict[str, str] = {}
    for row in rows:
        answers.setdefault(row["query_id"], []).append(row["doc_id"])
        queries.setdefault(row["query_id"], row["query"])
    passages = [Passage(doc_id, text) for doc_id, text in corpus.items()]
    mined = mine(
        [queries[query_id] for query_id in queries],
        [answers[query_id] for query_id in queries],
        passages,
        settings,
        seed=seed,
    )
    lists = []
    for (query_id, text), negatives in zip(queries.items(), mined, strict=True):
        positive = [Passage(doc_id, corpus[doc_id]) for doc_id in dict.fromkeys(answers[query_id])]
        scores = (1.0,) * len(positive) + (0.0,) * len(negatives)
        lists.append(
            LabelledList(Query(query_id, text), (*positive, *negatives), scores, TEACHER, "probability")
        )
    return lists


def mine(
    queries: Sequence[str],
    answers: Sequence[Sequence[str]],
    passages: Sequence[Passage],
    settings: SourceSettings,
    *,
    seed: int,
) -> list[list[Passage]]:
    """Return for each query the passages to hold against its answers, hardest first."""
    texts = [passage.text for passage in passages]
    sides = [_bm25_ranking(queries, texts)]
    dense = _Dense(queries, texts) if settings.mine == "hybrid" else None
    if dense is not None:
        sides.append(dense.ranking())
    places = {passage.doc_id: place for place, passage in enumerate(passages)}
    mined = []
    for number, known in enumerate(answers):
        own = {places[doc_id] for doc_id in known}
        refused = {texts[place].strip() for place in own}
        ranked = [[place for place in side[number] if place not in own] for side in sides]
        merged = _in_turn([side[settings.skip_top :] for side in ranked])
        if dense is not None:
            merged = dense.without_close(number, merged, own, settings.margin)
        rng = np.random.default_rng([seed, number])
        rest = (int(place) for place in rng.permutation(len(passages)))
        chosen: list[Passage] = []
        for place in (*merged, *rest):
            if len(chosen) == settings.negatives:
                break
            if place not in own and texts[place].strip() not in refused:
                refused.add(texts[place].strip())
                chosen.append(passages[place])
        mined.append(chosen)
    return mined


def _bm25_ranking(queries: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """Best places of each query by the index's own BM25 (Lucene's IDF), those that share a term only."""
    encoder = Bm25Encoder()
    average = max(sum(map(encoder.document_length, texts)) / max(len(texts), 1), 1e-9)
    postings: dict[int, tuple[list[int], list[float]]] = {}
    for place, vector in enumerate(encoder.with_average_length(average).encode_documents(texts)):
        for term, value in zip(vector.indices, vector.values, strict=True):
            rows, values = postings.setdefault(term, ([], []))
            rows.append(place)
            values.append(value)
    ready = {term: (np.array(rows), np.array(values)) for term, (rows, values) in postings.items()}
    ranking = []
    for vector in encoder.encode_queries(queries):
        scores = np.zeros(len(texts))
        for term, count in zip(vector.indices, vector.values, strict=True):
            if term in ready:
                found, weights = ready[term]
                scores[found] += (
                    count * weights * np.log1p((len(texts) - len(found) + 0.5) / (len(found) + 0.5))
                )
        ranking.append([int(place) for place in _best(scores) if scores[place] > 0])
    return ranking


class _Dense:
    """Cosines by the shipped encoder; a text that it cannot read has the cosine 0 to everything."""

    def __init__(self, queries: Sequence[str], texts: Sequence[str]) -> None:
        from indexing.encoders import load_encoders
        from indexing.settings import EncoderSettings

        pair = load_encoders(EncoderSettings())
        log.info("encoding %d passages and %d queries to mine negatives", len(texts), len(queries))
        self._queries = _matrix(pair.embed_queries(queries))
        self._texts = _matrix(pair.with_average_length(1.0).embed_documents(texts))

    def ranking(self) -> list[list[int]]:
        found = []
        for row in self._queries:
            cosines = self._texts @ row
            found.append([int(place) for place in _best(cosines) if cosines[place] > 0])
        return found

    def without_close(self, query: int, places: Sequence[int], answers: set[int], margin: float) -> list[int]:
        nearest = max(float(self._texts[place] @ self._queries[query]) for place in answers)
        if nearest <= 0:  # the encoder cannot tell
            return list(places)
        return [place for place in places if self._texts[place] @ self._queries[query] <= margin * nearest]


def _matrix(embeddings: Sequence[Any]) -> FloatArray:
    size = next((len(one.dense) for one in embeddings if one.dense is not None), 1)
    empty = np.zeros(size, dtype=np.float32)
    return np.stack([empty if one.dense is None else one.dense for one in embeddings])


def _best(scores: Any) -> Any:
    """Places by score descending, then place ascending, ``_DEPTH`` at most."""
    return np.argsort(-scores, kind="stable")[:_DEPTH]


def _in_turn(sides: Sequence[Sequence[int]]) -> list[int]:
    """The sides' places, one of each in turn, each place once."""
    longest = max((len(side) for side in sides), default=0)
    turns = (side[rank] for rank in range(longest) for side in sides if rank < len(side))
    return list(dict.fromkeys(turns))


def _rows(path: Path, fields: Sequence[str]) -> Iterator[Mapping[str, str]]:
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                missing = [name for name in fields if not isinstance(row.get(name), str)]
                if missing:
                    raise InputError(f"{path}, line {number}: no text in {', '.join(missing)}")
                yield row
    except (OSError, UnicodeDecodeError, EOFError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
