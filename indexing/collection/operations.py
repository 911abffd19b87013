"""The engine process's operations: from a request's arguments to a shard call.

Writes are replayed from the same arguments when a new shard takes over, so
each of them is idempotent and depends on nothing but its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from indexing.collection import wire
from indexing.collection.edge import Shard
from indexing.collection.protocol import CollectionSpec, GraphSearch
from indexing.collection.validation import (
    check_embedding,
    check_ids,
    check_points,
    check_rows,
    check_sparse,
    check_stores_tokens,
    check_top_k,
)
from indexing.errors import InputError

# One engine call of this many points takes about 15 ms: searches wait no longer than that.
POINTS_PER_CALL = 128
# Token vectors make a point about twenty times as large.
POINTS_WITH_TOKENS_PER_CALL = 16

Arguments = Sequence[Any]


def _search(shard: Shard, arguments: Arguments) -> Any:
    embedding, tenant, top_k, mode, wanted, exact, graph, with_payload = arguments
    query = wire.embedding_from_wire(embedding)
    check_embedding(query, shard.spec.dimensions, "query")
    check_top_k(top_k)
    where = wire.filter_from_wire(wanted)
    walk = GraphSearch(*graph)
    return wire.sides_to_wire(shard.search(query, tenant, top_k, mode, where, exact, walk, with_payload))


def _token_matches(shard: Shard, arguments: Arguments) -> Any:
    body, ids, tenant = arguments
    tokens = wire.rows_from_wire(body)
    check_stores_tokens(shard.spec)
    check_rows(tokens, shard.spec.token_dimensions, "query")
    check_ids(ids)
    return wire.matches_to_wire(shard.token_matches(tokens, ids, tenant))


def _retrieve(shard: Shard, arguments: Arguments) -> Any:
    ids, tenant, with_vectors = arguments
    check_ids(ids)
    return [wire.stored_to_wire(point) for point in shard.retrieve(ids, tenant, with_vectors)]


def _scroll(shard: Shard, arguments: Arguments) -> Any:
    tenant, wanted, after, batch, with_vectors = arguments
    page, following = shard.scroll(tenant, wire.filter_from_wire(wanted), after, batch, with_vectors)
    return [[wire.stored_to_wire(point) for point in page], following]


def _count(shard: Shard, arguments: Arguments) -> Any:
    tenant, wanted = arguments
    return shard.count(tenant, wire.filter_from_wire(wanted))


def _facet(shard: Shard, arguments: Arguments) -> Any:
    key, tenant, wanted, limit = arguments
    return shard.facet(key, tenant, wire.filter_from_wire(wanted), limit)


def _upsert(shard: Shard, arguments: Arguments) -> None:
    (rows,) = arguments
    shard.upsert([wire.point_from_wire(row) for row in rows])


def _update_sparse(shard: Shard, arguments: Arguments) -> None:
    (rows,) = arguments
    shard.update_sparse({key: wire.sparse_from_wire(body) for key, body in rows})


def _delete(shard: Shard, arguments: Arguments) -> None:
    (ids,) = arguments
    shard.delete(ids)


def _delete_document(shard: Shard, arguments: Arguments) -> None:
    tenant, doc_id, keep_version = arguments
    shard.delete_document(tenant, doc_id, keep_version)


READS: dict[str, Callable[[Shard, Arguments], Any]] = {
    "search": _search,
    "token_matches": _token_matches,
    "retrieve": _retrieve,
    "scroll": _scroll,
    "count": _count,
    "facet": _facet,
}
WRITES: dict[str, Callable[[Shard, Arguments], None]] = {
    "upsert": _upsert,
    "update_sparse": _update_sparse,
    "delete": _delete,
    "delete_document": _delete_document,
}


def check_write(name: str, arguments: Arguments, spec: CollectionSpec) -> None:
    """Check a whole write before any part of it is applied."""
    if name == "delete_document":
        tenant, doc_id, keep_version = arguments
        if not isinstance(tenant, str) or not isinstance(doc_id, str):
            raise InputError("delete_document takes a tenant and a doc_id")
        if keep_version is not None and not isinstance(keep_version, str):
            raise InputError("delete_document keeps one version by its name")
        return
    (rows,) = arguments
    if name == "upsert":
        check_points([wire.point_from_wire(row) for row in rows], spec)
    elif name == "update_sparse":
        check_ids(key for key, _ in rows)
        for key, body in rows:
            check_sparse(wire.sparse_from_wire(body), key)
    else:
        check_ids(rows)


def steps(name: str, arguments: Arguments) -> Iterator[Arguments]:
    """Cut a large write into calls short enough that searches get in between."""
    if name == "delete_document":
        yield arguments
        return
    (rows,) = arguments
    most = POINTS_PER_CALL
    if name == "upsert" and any(wire.has_tokens(row) for row in rows):
        most = POINTS_WITH_TOKENS_PER_CALL
    for start in range(0, len(rows), most):
        yield [rows[start : start + most]]
