"""The same sentences and terms ranked by bm25s, to check BM25 in the engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from indexing.encoders.analysis import Analyzer, words_of
from indexing.encoders.question import without_question_words
from indexing.errors import MissingDependencyError
from indexing.ingest.inputs import embedding_input
from indexing.records import DEFAULT_TENANT, Sentence
from indexing.session import Index
from indexing.settings import Settings


def peer_run(queries: Mapping[str, str], settings: Settings, top_k: int) -> dict[str, dict[str, float]]:
    """Return query_id -> doc_id -> score by bm25s over what the index in this home holds.

    Raises:
        MissingDependencyError: bm25s is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise MissingDependencyError("bm25s", "bench", "comparing BM25") from error
    logging.getLogger("bm25s").setLevel("WARNING")  # it sets itself to DEBUG
    owners, texts = _sentences(settings)
    encoders = settings.encoders
    analyzer = Analyzer(stem=encoders.bm25_stem)
    model = bm25s.BM25(method="lucene", k1=encoders.bm25_k1, b=encoders.bm25_b)
    model.index([_terms(analyzer, text) for text in texts], show_progress=False)
    keep = encoders.bm25_question_words == "keep"
    run: dict[str, dict[str, float]] = {}
    for query_id, query in queries.items():
        asked = query if keep else without_question_words(query)
        terms = [term for term in _terms(analyzer, asked) if term in model.vocab_dict]
        scores: dict[str, float] = {}
        if terms:
            rows, values = model.retrieve([terms], k=min(top_k, len(texts)), show_progress=False)
            for row, value in zip(rows[0].tolist(), values[0].tolist(), strict=True):
                if value > 0:
                    scores[owners[row]] = max(value, scores.get(owners[row], 0.0))
        run[query_id] = scores
    return run


def _terms(analyzer: Analyzer, text: str) -> list[str]:
    return [term for word in words_of(text) if (term := analyzer.term_of(word)) is not None]


def _sentences(settings: Settings) -> tuple[list[str], list[str]]:
    """Return the owner and the encoders' input of every sentence in the index."""
    owners: list[str] = []
    texts: list[str] = []
    with Index.open(settings) as index:
        for page in index.bridge.iterate(index.collection.scroll, tenant=DEFAULT_TENANT):
            for point in page:
                payload = point.payload
                ordinal, text = int(str(payload["ordinal"])), str(payload["text"])
                # The opening of a document is its first sentence as far as the title goes.
                title = str(payload.get("title", ""))
                owners.append(str(payload["doc_id"]))
                texts.append(embedding_input(title, text, Sentence(ordinal, 0, len(text), text)))
    return owners, texts
