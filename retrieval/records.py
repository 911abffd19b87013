"""What a search takes and gives: frozen, typed, ready for JSON.

Offsets are character offsets into the document's extracted text, half open.
Ranks count from 1.  Scores are raw: a dense score is a cosine, a sparse score
a BM25 (or learned) dot product, a rerank score a logit; only the fused score
is comparable between the two sides, and only inside one response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from indexing.records import DEFAULT_TENANT, NO_METADATA, Metadata, Mode

Fusion = Literal["rrf", "dbsf", "weighted"]


@dataclass(frozen=True, slots=True)
class Branch:
    """A further text that is searched for beside the query; all rankings are fused.

    Attributes:
        name: for the receipt ("hyde", "multi_query").
        side: "document" encodes the text as a document (a hypothetical
            passage), "query" as a question.
        weight: its rankings' share against the query's own, which have 1.
    """

    name: str
    text: str
    side: Literal["query", "document"] = "query"
    weight: float = 0.5


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One question; None means the configured default.

    Attributes:
        top_k: candidates fetched from each side.
        top_n: results returned.
        rerank: False skips a configured reranker; True asks for it and the
            receipt says so when none is configured.
        window_size: sentences on each side of a hit.
        per_source_cap: passages of one source before those of the others; 0: any number.
        branches: what else to search for; with any, the default fusion is
            reciprocal rank, which needs no common scale.
    """

    query: str
    tenant: str = DEFAULT_TENANT
    mode: Mode | None = None
    top_k: int | None = None
    top_n: int | None = None
    filter: Mapping[str, object] | None = None
    rerank: bool | None = None
    window_size: int | None = None
    fusion: str | None = None
    branches: tuple[Branch, ...] = ()
    per_source_cap: int | None = None


class Ranks(NamedTuple):
    """A result's rank after each stage; None where the stage did not see it."""

    dense: int | None = None
    sparse: int | None = None
    fused: int | None = None
    rerank: int | None = None


class Scores(NamedTuple):
    """A result's raw score at each stage; None where the stage did not see it."""

    dense: float | None = None
    sparse: float | None = None
    fused: float | None = None
    rerank: float | None = None


class SearchResult(NamedTuple):
    """One passage: the best matching sentence and the window around it.

    ``text`` is the sentence at ``start:end``; ``window`` is the slice
    ``window_start:window_end`` of the same document and holds every sentence
    of ``highlights`` (the matched ones that were merged into this window).
    ``score`` is the last stage's: the fused score, or what the rerank stage
    ordered by (the logit, or its blend with the fused score); ``scores.rerank``
    is the logit alone.  ``ingested_by`` is for those who operate the service.
    A tuple, like its parts: every search makes ten, or as many as were asked for.
    """

    id: str
    doc_id: str
    source: str
    title: str
    section: str
    page: int | None
    text: str
    window: str
    start: int
    end: int
    score: float
    ranks: Ranks
    scores: Scores
    window_start: int
    window_end: int
    highlights: tuple[tuple[int, int], ...]
    sources: tuple[str, ...]
    highlight_pages: tuple[int | None, ...] = ()
    version: str = ""
    ordinal: int = 0
    metadata: Metadata = NO_METADATA
    indexed_at: str = ""
    ingested_by: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a search: its name, its wall time, what it did."""

    name: str
    ms: float
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The stages in order, and what failed on the way (empty: nothing)."""

    stages: tuple[Stage, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResponse:
    """Results, best first, and how they came about."""

    results: tuple[SearchResult, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote: ``quote`` equals the document's text at ``start:end``."""

    label: str
    doc_id: str
    source: str
    page: int | None
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose every sentence carries the label of its citation.

    ``kind`` is "extractive" (sentences of the documents, verbatim), "none"
    (nothing was found), or "generated" (a language model wrote it).
    """

    text: str
    citations: tuple[Citation, ...]
    kind: Literal["extractive", "none", "generated"]
