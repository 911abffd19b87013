"""One Qdrant Edge shard, synchronous: the only module that calls the engine.

Every call holds the GIL for its whole time, so the shard lives in a process
of its own (:mod:`indexing.collection.engine`) and is never shared by threads.
What callers of this module must have done is validate their vectors: a
malformed one panics inside the engine and poisons its log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import gt
from pathlib import Path

import numpy as np
import qdrant_edge as qe

from indexing.collection.edge_config import create_indexes, engine_config
from indexing.collection.edge_filters import document_filter, tenant_filter, translate
from indexing.collection.edge_search import DenseSearch
from indexing.collection.edge_tokens import stored_tokens, token_matches, token_vectors
from indexing.collection.filters import Filter
from indexing.collection.layout import EngineParameters
from indexing.collection.protocol import (
    DENSE,
    SPARSE,
    CollectionSpec,
    GraphSearch,
    StoredPoint,
    TokenMatches,
)
from indexing.collection.read_ahead import read_quantized
from indexing.collection.shard_state import ShardState
from indexing.collection.wire import Side, Sides
from indexing.collection.without_dense import WithoutDense
from indexing.errors import CollectionError, DamagedShardError
from indexing.records import Embedding, FloatArray, Mode, Point, SparseVector

_NamedVector = list[float] | qe.SparseVector | list[list[float]]
_NO_TERMS = SparseVector((), ())
_NO_SIDE = Side([], [], None)


class EnginePanicError(CollectionError):
    """The engine panicked: its state in memory can no longer be trusted."""


@contextmanager
def engine_call(what: str) -> Iterator[None]:
    """Translate what the engine raises: bare ``Exception``, or a panic from Rust."""
    try:
        yield
    except CollectionError:
        raise
    except Exception as error:
        raise CollectionError(f"the engine could not {what}: {error}") from error
    except BaseException as error:  # pyo3's PanicException derives from BaseException
        if type(error).__name__ != "PanicException":
            raise
        raise EnginePanicError(f"the engine panicked while trying to {what}: {error}") from error


class Shard:
    """An open shard folder.

    Its ``state`` is written beside the folder, see :class:`ShardState`.
    """

    def __init__(
        self, shard: qe.EdgeShard, path: Path, spec: CollectionSpec, parameters: EngineParameters
    ) -> None:
        self._shard = shard
        self.path = path
        self.spec = spec
        self._dense = DenseSearch.of(spec.dimensions, parameters)
        self._scanned = False  # known once loaded
        self._without_dense = WithoutDense()
        self.state = ShardState.read(path)
        self._tenants: set[str] = set()

    @classmethod
    def create(cls, path: Path, spec: CollectionSpec, parameters: EngineParameters) -> Shard:
        path.mkdir(parents=True)
        with engine_call(f"create a shard in {path}"):
            shard = cls(
                qe.EdgeShard.create(str(path), engine_config(spec, parameters)), path, spec, parameters
            )
            create_indexes(shard._shard)
            shard._shard.flush()
        return shard

    @classmethod
    def load(cls, path: Path, spec: CollectionSpec, parameters: EngineParameters) -> Shard:
        """Open the shard in ``path``; DamagedShardError when it does not load."""
        try:
            with engine_call("load"):
                _check_segments(path / "segments")
                read_quantized(path)
                shard = cls(qe.EdgeShard.load(str(path)), path, spec, parameters)
                create_indexes(shard._shard)
                shard._tenants = {str(value) for value, _ in shard._facet("tenant", None, 2)}
                shard._compare_with_close()
                shard._note_size()
                shard._without_dense = WithoutDense.of(shard._shard)
        except (CollectionError, OSError) as error:
            raise DamagedShardError(
                f"the stored shard {path} does not load ({error}); run: python -m indexing repair"
            ) from error
        return shard

    # ── writes ────────────────────────────────────────────────────────────

    def upsert(self, points: Sequence[Point]) -> None:
        """Write validated points; an id that is there is replaced whole."""
        rows = [qe.Point(point.id, _vectors(point.embedding), dict(point.payload)) for point in points]
        before = self.points
        self._tenants.update(str(point.payload["tenant"]) for point in points)
        with engine_call("write points"):
            self._shard.update(qe.UpdateOperation.upsert_points(rows))
        self.state.pending += sum(point.embedding.dense is not None for point in points)
        if self.points - before < len(rows):
            self.state.mark_stale()
        self._note_size()
        self._without_dense.note(points)

    def update_sparse(self, vectors: Mapping[str, SparseVector]) -> None:
        """Replace sparse vectors; ids that are not there are passed over."""
        with engine_call("replace sparse vectors"):
            present = [str(row.id) for row in self._shard.retrieve(list(vectors), False, False)]
            if not present:
                return
            self.state.mark_stale()
            filled = [key for key in present if vectors[key].indices]
            empty = [key for key in present if not vectors[key].indices]
            if filled:
                rows = [qe.PointVectors(key, {SPARSE: _sparse(vectors[key])}) for key in filled]
                self._shard.update(qe.UpdateOperation.update_vectors(rows))
        if empty:
            # Not delete_vectors: its postings come back when the point is next written.
            self.upsert([_without_sparse(point) for point in self._read(empty)])

    def delete(self, ids: Sequence[str]) -> None:
        self.state.mark_stale()
        with engine_call("delete points"):
            self._shard.update(qe.UpdateOperation.delete_points(list(ids)))

    def delete_document(self, tenant: str, doc_id: str, keep_version: str | None) -> None:
        self.state.mark_stale()
        with engine_call("delete a document"):
            wanted = document_filter(tenant, doc_id, keep_version)
            self._shard.update(qe.UpdateOperation.delete_points_by_filter(wanted))

    # ── reads ─────────────────────────────────────────────────────────────

    def search(
        self,
        query: Embedding,
        tenant: str,
        top_k: int,
        mode: Mode,
        wanted: Filter | None,
        exact: bool,
        graph: GraphSearch,
        with_payload: bool,
    ) -> Sides:
        """Both sides in one engine call, the tenant and the filter in each."""
        where = translate(None if self._only(tenant) else tenant, wanted)
        requests: list[qe.QueryRequest] = []
        dense_on = mode != "sparse" and query.dense is not None
        sparse_on = mode != "dense" and len(query.sparse) > 0
        if dense_on and query.dense is not None:
            nearest = qe.Query.Nearest(query.dense.tolist(), using=DENSE)
            with engine_call("estimate a filter"):
                params = self._dense.params(
                    self._shard, where, wanted, graph, exact=exact, scanned=self._scanned
                )
            requests.append(_request(nearest, top_k, where, params, with_payload))
        if sparse_on:
            nearest = qe.Query.Nearest(_sparse(query.sparse), using=SPARSE)
            requests.append(_request(nearest, top_k, where, self._sparse_params(tenant), with_payload))
        if not requests:
            return Sides(_NO_SIDE, _NO_SIDE, 0.0, None)
        started = time.perf_counter()
        with engine_call("search"):
            sides = self._shard.query_batch(qe.QueryBatchRequest(requests))
        elapsed = (time.perf_counter() - started) * 1000
        dense = _side(sides[0], with_payload) if dense_on else _NO_SIDE
        sparse = _side(sides[-1], with_payload) if sparse_on else _NO_SIDE
        return Sides(dense, sparse, elapsed, self._without_dense.among(sparse.keys))

    def _only(self, tenant: str) -> bool:
        """Whether every point is this tenant's: then a filter by tenant costs time and changes nothing.

        ``_tenants`` may name one that has no point any more, and never lacks one that has.
        """
        return self._tenants <= {tenant}

    def _note_size(self) -> None:
        self._scanned = self._dense.scans(self.points)

    def _sparse_params(self, tenant: str) -> qe.SearchParams | None:
        """IDF over the tenant's own live points, unless all points are just that."""
        if not self.spec.sparse_idf or (not self.state.stale and self._only(tenant)):
            return None
        return qe.SearchParams(idf=qe.IdfParams(tenant_filter(tenant)))

    def token_matches(self, tokens: FloatArray, ids: Sequence[str], tenant: str) -> TokenMatches:
        """The points' best cosine with each query token; NaN for points that are not the tenant's."""
        with engine_call("compare tokens"):
            return token_matches(self._shard, tokens, ids, tenant, self.spec.pooled_dimensions)

    def retrieve(self, ids: Sequence[str], tenant: str, with_vectors: bool) -> list[StoredPoint]:
        points = self._read(ids, with_vectors)
        found = {point.id: point for point in points if point.payload.get("tenant") == tenant}
        return [found[key] for key in ids if key in found]

    def _read(self, ids: Sequence[str], with_vectors: bool = True) -> list[StoredPoint]:
        with engine_call("read points"):
            return [_stored(row) for row in self._shard.retrieve(list(ids), True, with_vectors)]

    def scroll(
        self, tenant: str | None, wanted: Filter | None, after: str | None, batch: int, with_vectors: bool
    ) -> tuple[list[StoredPoint], str | None]:
        """A page of points by id, and the id the next page starts at."""
        request = qe.ScrollRequest(
            offset=after,
            limit=batch,
            filter=translate(tenant, wanted),
            with_payload=True,
            with_vector=with_vectors,
        )
        with engine_call("read points"):
            rows, following = self._shard.scroll(request)
        return [_stored(row) for row in rows], None if following is None else str(following)

    def count(self, tenant: str | None, wanted: Filter | None) -> int:
        with engine_call("count points"):
            return int(self._shard.count(qe.CountRequest(exact=True, filter=translate(tenant, wanted))))

    def facet(
        self, key: str, tenant: str, wanted: Filter | None, limit: int
    ) -> list[tuple[str | int | bool, int]]:
        with engine_call("count values"):
            return self._facet(key, translate(tenant, wanted), limit)

    def _facet(self, key: str, where: qe.Filter | None, limit: int) -> list[tuple[str | int | bool, int]]:
        hits = self._shard.facet(qe.FacetRequest(key, limit=limit, exact=True, filter=where)).hits
        return sorted(((hit.value, hit.count) for hit in hits), key=lambda item: (-item[1], str(item[0])))

    # ── state ─────────────────────────────────────────────────────────────

    @property
    def points(self) -> int:
        return int(self._shard.info().points_count)

    @property
    def segments(self) -> int:
        return int(self._shard.info().segments_count)

    @property
    def graph_points(self) -> int:
        """Points in the HNSW graph; a point written twice since the build counts twice against it."""
        where = qe.Filter(must=[qe.HasVectorCondition(DENSE)])
        with engine_call("count vectors"):
            return max(
                0, int(self._shard.count(qe.CountRequest(exact=True, filter=where))) - self.state.pending
            )

    @property
    def counts_deleted(self) -> bool:
        """Whether the engine's indexes still hold deleted points.

        Token vectors count as indexed though they have no graph, so where they
        are stored the answer is always yes: slower by a millisecond, never wrong.
        """
        live = 0
        with engine_call("count vectors"):
            for name in (DENSE, SPARSE):
                where = qe.Filter(must=[qe.HasVectorCondition(name)])
                live += int(self._shard.count(qe.CountRequest(exact=True, filter=where)))
            return int(self._shard.info().indexed_vectors_count) > live

    def flush(self) -> None:
        with engine_call("flush"):
            self._shard.flush()
        self.state.write()

    def optimize(self) -> bool:
        """Build the graph; blocks the whole process until it is done."""
        with engine_call("build the graph"):
            return bool(self._shard.optimize())

    def close(self) -> None:
        """Flush, remember how many points there are, and let the files go."""
        self.flush()
        self.state.closed_points = self.points
        self.state.write()
        with engine_call("close"):
            self._shard.close()

    def abandon(self) -> None:
        """Let the files go without a word about what they hold."""
        with engine_call("close"):
            self._shard.close()

    def _compare_with_close(self) -> None:
        left, found = self.state.closed_points, self.points
        if left is not None and found != left:
            self.abandon()
            raise CollectionError(f"it was closed with {left} points and opens with {found}")
        self.state.closed_points = None
        self.state.write()


def _check_segments(folder: Path) -> None:
    """Raise before the engine makes a loss final.

    It would quietly make an empty shard of a folder without segments, and it
    deletes a segment without a version file, whatever that holds.
    """
    segments = list(folder.iterdir())
    if not segments:
        raise CollectionError("it holds no segments")
    for segment in segments:
        if (segment / "segment.json").exists() and not (segment / "version.info").exists():
            raise CollectionError(f"segment {segment.name} has lost its version file")


def _request(
    query: qe.Query,
    top_k: int,
    where: qe.Filter | None,
    params: qe.SearchParams | None,
    with_payload: bool,
) -> qe.QueryRequest:
    return qe.QueryRequest(limit=top_k, query=query, filter=where, params=params, with_payload=with_payload)


def _sparse(vector: SparseVector) -> qe.SparseVector:
    return qe.SparseVector(list(vector.indices), [float(value) for value in vector.values])


def _vectors(embedding: Embedding) -> dict[str, _NamedVector]:
    vectors: dict[str, _NamedVector] = {}
    if embedding.dense is not None:
        vectors[DENSE] = embedding.dense.tolist()
    if embedding.sparse.indices:
        vectors[SPARSE] = _sparse(embedding.sparse)
    if embedding.tokens is not None:
        vectors.update(token_vectors(embedding.tokens))
    return vectors


def _side(rows: Sequence[qe.ScoredPoint], with_payload: bool) -> Side:
    """Columns, best first; the engine leaves the order of equal scores open, so the id decides."""
    keys = [row.id.bytes for row in rows]  # type: ignore[union-attr]  # a point's id is always a UUID
    scores = [row.score for row in rows]
    payloads = [row.payload or {} for row in rows] if with_payload else None
    if all(map(gt, scores, scores[1:])):
        return Side(keys, scores, payloads)
    order = sorted(range(len(rows)), key=lambda place: (-scores[place], keys[place]))
    return Side(
        [keys[place] for place in order],
        [scores[place] for place in order],
        None if payloads is None else [payloads[place] for place in order],
    )


def _stored(row: qe.Record) -> StoredPoint:
    embedding: Embedding | None = None
    if isinstance(row.vector, dict):
        dense, sparse = row.vector.get(DENSE), row.vector.get(SPARSE)
        terms = _NO_TERMS
        if isinstance(sparse, qe.SparseVector):
            terms = SparseVector(tuple(sparse.indices), tuple(sparse.values))
        embedding = Embedding(
            None if dense is None else np.asarray(dense, dtype=np.float32), terms, stored_tokens(row.vector)
        )
    return StoredPoint(str(row.id), row.payload or {}, embedding)


def _without_sparse(point: StoredPoint) -> Point:
    old = point.embedding or Embedding(None, _NO_TERMS)
    return Point(point.id, Embedding(old.dense, _NO_TERMS, old.tokens), point.payload)
