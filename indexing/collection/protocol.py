"""The one seam between Winnow and the engine: an asynchronous protocol.

Three homes implement it (embedded, memory, server) and one congruence suite
runs against all three.  Synchronous callers (ingest, CLIs) go through
``indexing.bridge``, the only thread bridge.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from indexing.collection.filters import Filter
from indexing.errors import FingerprintMismatchError
from indexing.identity import POINT_IDS
from indexing.records import Embedding, FloatArray, Mode, Point, SideHits, SparseVector

DENSE = "dense"
SPARSE = "sparse"
TOKENS = "tokens"
POOLED = "pooled"

# Payload fields every point has; "metadata.<name>" holds the document's own fields.
KEYWORD_FIELDS = ("tenant", "doc_id", "version", "source", "title", "section")
INTEGER_FIELDS = ("ordinal", "page")
# Fields whose values get links of their own in the HNSW graph, so that a filter by one of them leaves it
# connected.  Numbers are left out: their ranges are the whole collection once more, and double the build.
LINKED_FIELDS = frozenset({"tenant", "doc_id", "source", "section"})


class GraphSearch(NamedTuple):
    """How a search walks the HNSW graph.

    A filter leaves only some of a node's links, and the rest of the graph may
    fall apart; ACORN (Patel, Kraft, Guestrin and Zaharia, SIGMOD 2024) then
    follows the links of what the filter left out.

    Attributes:
        ef: candidates kept.
        acorn_selectivity: ACORN is used where a filter keeps at most this share of the points;
            0: a filtered search is left to the graph alone.
    """

    ef: int
    acorn_selectivity: float


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What the collection remembers of how its vectors were made.

    Three say which late-interaction model's token vectors it stores;
    ``pooled_dimensions`` 0: that model has no use for a pooled vector.
    ``point_ids`` says how its points are named, see :mod:`indexing.identity`.
    """

    dimensions: int
    dense_fingerprint: str
    sparse_fingerprint: str
    sparse_idf: bool
    token_fingerprint: str = ""
    token_dimensions: int = 0
    pooled_dimensions: int = 0
    point_ids: int = POINT_IDS

    @classmethod
    def stored(cls, body: Mapping[str, Any]) -> CollectionSpec:
        """Return the spec that was stored as ``asdict`` gives it.

        Raises:
            TypeError: not a spec.
            FingerprintMismatchError: the collection's ids are those of an earlier Winnow.
        """
        spec = cls(**{"point_ids": 1, **body})
        if spec.point_ids != POINT_IDS:
            raise FingerprintMismatchError(
                f"the collection names its points in way {spec.point_ids}, this Winnow in way {POINT_IDS}; "
                "build it anew from the stored texts with: python -m indexing reindex"
            )
        return spec


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """Counts for ``status``, ``/ready`` and the page."""

    home: Literal["embedded", "memory", "server"]
    points: int
    indexed_points: int
    segments: int
    disk_bytes: int | None
    optimizing: bool
    read_only: bool
    spec: CollectionSpec
    token_bytes: int | None = None  # of disk_bytes, those of the token vectors


@dataclass(frozen=True, slots=True)
class TokenMatches:
    """How well each of some points fits each token of a query.

    ``best``: ``(n_ids, n_query_tokens)`` float32, the greatest cosine with one of
    the point's tokens.  ``pooled``: ``(n_ids, pooled_dimensions)`` float32.  Rows
    of NaN in both: the tenant has no such point, or it has no token vectors.
    """

    best: FloatArray
    pooled: FloatArray
    engine_ms: float


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point read back; ``embedding`` only when asked for."""

    id: str
    payload: Mapping[str, object]
    embedding: Embedding | None = None


def check_spec(found: CollectionSpec, wanted: CollectionSpec) -> None:
    """Raise FingerprintMismatchError unless both were made by the same encoders."""
    differences = [
        f"{name}: the collection has {old!r}, the configured encoders make {new!r}"
        for name, old, new in (
            ("dense encoder", found.dense_fingerprint, wanted.dense_fingerprint),
            ("dimensions", found.dimensions, wanted.dimensions),
            ("sparse encoder", found.sparse_fingerprint, wanted.sparse_fingerprint),
            ("sparse idf", found.sparse_idf, wanted.sparse_idf),
        )
        if old != new
    ]
    if found.token_fingerprint != wanted.token_fingerprint:
        old, new = (
            f"those of {one.token_fingerprint!r}" if one.token_fingerprint else "none"
            for one in (found, wanted)
        )
        differences.append(
            f"token vectors: the collection has {old}, encoders.late_interaction asks for {new}"
        )
    if differences:
        raise FingerprintMismatchError(
            "the collection was built by other encoders (" + "; ".join(differences) + "); "
            "configure those (`python -m indexing migrate start` then changes them while queries go on), "
            "or build it anew with: python -m indexing reindex"
        )


class Collection(Protocol):
    """Sentences with a dense and a sparse vector each.

    Every vector is validated before it reaches the engine.  A write has been
    acknowledged when the call returns: it survives SIGKILL of any process.
    Every write is idempotent, and a lost connection is retried.
    The tenant is a required argument of every read and lands in every
    prefetch: a caller cannot forget it.
    """

    @property
    def spec(self) -> CollectionSpec: ...

    async def upsert(self, points: Sequence[Point]) -> None: ...

    async def update_sparse(self, vectors: Mapping[str, SparseVector]) -> None:
        """Replace the sparse vectors of existing points (id -> vector); other ids are passed over."""
        ...

    async def delete(self, ids: Sequence[str]) -> None: ...

    async def delete_document(self, tenant: str, doc_id: str, *, keep_version: str | None = None) -> None:
        """Delete a document's points, all versions or all but one."""
        ...

    async def search(
        self,
        query: Embedding,
        *,
        tenant: str,
        top_k: int,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        exact: bool = False,
        with_payload: bool = True,
    ) -> SideHits:
        """Fetch ``top_k`` hits from each side in one request, filter in each.

        A side is empty when its mode is off, ``query.dense`` is None, or the
        sparse vector has no terms.  Ties are ordered by id.  Without their
        payload hits take half the time, and the catalogue knows them by their
        ids.
        """
        ...

    async def token_matches(self, tokens: FloatArray, ids: Sequence[str], *, tenant: str) -> TokenMatches:
        """Compare a query's tokens, unit rows ``(n, token_dimensions)``, with those of these points.

        Raises:
            CollectionError: the collection stores no token vectors.
        """
        ...

    async def retrieve(
        self, ids: Sequence[str], *, tenant: str, with_vectors: bool = False
    ) -> list[StoredPoint]:
        """The points with these ids, in the order asked; unknown ids are left out."""
        ...

    def scroll(
        self,
        *,
        tenant: str | None,
        filter: Filter | None = None,
        batch: int = 1000,
        with_vectors: bool = False,
        start: str | None = None,
    ) -> AsyncIterator[list[StoredPoint]]:
        """Every matching point, by id, from ``start`` on; ``tenant=None`` is for maintenance only."""
        ...

    async def count(self, *, tenant: str | None, filter: Filter | None = None) -> int: ...

    async def facet(
        self, key: str, *, tenant: str, filter: Filter | None = None, limit: int = 20
    ) -> list[tuple[str | int | bool, int]]:
        """Most frequent values of a core field with their counts, ties by value.

        Raises:
            FilterError: ``metadata`` fields have no index to count by.
        """
        ...

    async def info(self) -> CollectionInfo: ...

    async def optimize(self, *, wait: bool = False) -> bool:
        """Start building the HNSW graph; searches are answered meanwhile.

        Returns whether there was anything to do.
        """
        ...

    async def close(self) -> None: ...
