"""Frames and values between the engine process and its clients.

A frame is an 8-byte header (magic, protocol version, body length) and a
msgpack body.  A request is ``[id, operation, arguments]``; a reply is
``[id, None, result]`` or ``[id, [error class, message], None]``.  Vectors travel
as raw little-endian bytes: dense and sparse values float32, indices uint32,
stored token vectors float16; a search's ids are the 16 bytes of their UUIDs.
Nothing is pickled: a frame from anyone is data, never code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np

from indexing.collection.filters import Condition, Filter
from indexing.collection.protocol import StoredPoint, TokenMatches
from indexing.errors import (
    CapacityError,
    CollectionError,
    CollectionUnavailableError,
    ConnectionLostError,
    DamagedShardError,
    FilterError,
    FingerprintMismatchError,
    InputError,
    MismatchError,
    QueryError,
    VectorError,
    WinnowError,
    WireError,
)
from indexing.hits import PackedHits
from indexing.identity import id_of_key
from indexing.records import Embedding, FloatArray, Point, SideHits, SparseVector, TokenVectors

PROTOCOL = 4
MAX_FRAME = 128 * 2**20
_HEADER = struct.Struct("<2sHI")
_MAGIC = b"Wn"
_KEY = 16  # bytes of a packed id
_ERRORS: dict[str, type[WinnowError]] = {
    kind.__name__: kind
    for kind in (
        CapacityError,
        CollectionError,
        CollectionUnavailableError,
        ConnectionLostError,
        DamagedShardError,
        FilterError,
        FingerprintMismatchError,
        InputError,
        MismatchError,
        QueryError,
        VectorError,
        WireError,
    )
}


def frame(body: object) -> bytes:
    """One whole frame.

    Raises:
        WireError: the body is larger than MAX_FRAME.
        VectorError: a value has no msgpack form.
    """
    try:
        packed: bytes = msgpack.packb(body, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise VectorError(f"a value cannot be sent to the engine: {error}") from error
    if len(packed) > MAX_FRAME:
        raise WireError(f"a message of {len(packed)} bytes is larger than the limit of {MAX_FRAME}")
    return _HEADER.pack(_MAGIC, PROTOCOL, len(packed)) + packed


def _body_size(header: bytes | bytearray) -> int:
    magic, version, size = _HEADER.unpack_from(header)
    if magic != _MAGIC:
        raise WireError("the other side does not speak Winnow's engine protocol")
    if version != PROTOCOL:
        raise WireError(f"the other side speaks engine protocol {version}, this side {PROTOCOL}")
    if size > MAX_FRAME:
        raise WireError(f"a frame of {size} bytes is larger than the limit of {MAX_FRAME}")
    return int(size)


class Frames:
    """Cuts what a socket delivers into bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the bodies that ``data`` completes.

        Raises:
            WireError: wrong magic, another protocol version, an oversized or
                malformed body.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _HEADER.size:
            end = _HEADER.size + _body_size(buffer)
            if len(buffer) < end:
                return
            body = bytes(buffer[_HEADER.size : end])
            del buffer[:end]
            yield unpack(body)


def pack(body: object) -> bytes:
    packed: bytes = msgpack.packb(body, use_bin_type=True)
    return packed


def unpack(body: bytes) -> Any:
    try:
        return msgpack.unpackb(body, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"a frame is not valid msgpack: {error}") from error


def error_to_wire(error: WinnowError) -> list[str]:
    """Class name and message; a class the client does not know becomes its nearest base."""
    for kind in type(error).__mro__:
        if kind.__name__ in _ERRORS:
            return [kind.__name__, str(error)]
    return [CollectionError.__name__, f"{type(error).__name__}: {error}"]


def error_from_wire(body: Sequence[str]) -> WinnowError:
    kind, message = body
    return _ERRORS.get(kind, CollectionError)(message)


def sparse_to_wire(vector: SparseVector) -> list[bytes]:
    indices = np.asarray(vector.indices, dtype="<u4").tobytes()
    return [indices, np.asarray(vector.values, dtype="<f4").tobytes()]


def sparse_from_wire(body: Sequence[bytes]) -> SparseVector:
    indices, values = body
    return SparseVector(
        tuple(np.frombuffer(indices, dtype="<u4").tolist()),
        tuple(np.frombuffer(values, dtype="<f4").tolist()),
    )


def embedding_to_wire(embedding: Embedding) -> list[Any]:
    dense = None if embedding.dense is None else embedding.dense.astype("<f4", copy=False).tobytes()
    body = [dense, *sparse_to_wire(embedding.sparse)]
    return body if embedding.tokens is None else [*body, _tokens_to_wire(embedding.tokens)]


def embedding_from_wire(body: Sequence[Any]) -> Embedding:
    dense, indices, values, *tokens = body
    return Embedding(
        dense=None if dense is None else np.frombuffer(dense, dtype="<f4").astype(np.float32, copy=False),
        sparse=sparse_from_wire((indices, values)),
        tokens=_tokens_from_wire(tokens[0]) if tokens else None,
    )


def _tokens_to_wire(vectors: TokenVectors) -> list[Any]:
    """Half precision: a sentence's tokens are some forty times its dense vector."""
    pooled = None if vectors.pooled is None else vectors.pooled.astype("<f2").tobytes()
    return [len(vectors.tokens), vectors.tokens.astype("<f2").tobytes(), pooled]


def _tokens_from_wire(body: Sequence[Any]) -> TokenVectors:
    count, tokens, pooled = body
    return TokenVectors(
        np.frombuffer(tokens, dtype="<f2").astype(np.float32).reshape(count, -1),
        None if pooled is None else np.frombuffer(pooled, dtype="<f2").astype(np.float32),
    )


def has_tokens(point: Sequence[Any]) -> bool:
    """Whether a packed point carries token vectors."""
    return len(point[1]) > 3


def rows_to_wire(rows: FloatArray) -> list[Any]:
    """A matrix of float32, any number of rows."""
    return [len(rows), rows.shape[1], rows.astype("<f4", copy=False).tobytes()]


def rows_from_wire(body: Sequence[Any]) -> FloatArray:
    count, width, numbers = body
    return np.frombuffer(numbers, dtype="<f4").astype(np.float32, copy=False).reshape(count, width)


def matches_to_wire(matches: TokenMatches) -> list[Any]:
    return [matches.engine_ms, rows_to_wire(matches.best), rows_to_wire(matches.pooled)]


def matches_from_wire(body: Sequence[Any]) -> TokenMatches:
    elapsed, best, pooled = body
    return TokenMatches(rows_from_wire(best), rows_from_wire(pooled), elapsed)


def point_to_wire(point: Point) -> list[Any]:
    return [point.id, embedding_to_wire(point.embedding), dict(point.payload)]


def point_from_wire(body: Sequence[Any]) -> Point:
    key, embedding, payload = body
    return Point(key, embedding_from_wire(embedding), payload)


def stored_to_wire(point: StoredPoint) -> list[Any]:
    embedding = None if point.embedding is None else embedding_to_wire(point.embedding)
    return [point.id, point.payload, embedding]


def stored_from_wire(body: Sequence[Any]) -> StoredPoint:
    key, payload, embedding = body
    return StoredPoint(key, payload, None if embedding is None else embedding_from_wire(embedding))


class Side(NamedTuple):
    """One side's hits as columns, best first; no ``payloads`` where none were asked for."""

    keys: list[bytes]
    scores: list[float]
    payloads: list[dict[str, Any]] | None


class Sides(NamedTuple):
    """What a search of the engine returns: its :class:`SideHits` before they are made."""

    dense: Side
    sparse: Side
    engine_ms: float
    without_dense: list[bytes] | None


def sides_to_wire(sides: Sides) -> list[Any]:
    without_dense = None if sides.without_dense is None else b"".join(sides.without_dense)
    return [sides.engine_ms, _side_to_wire(sides.dense), _side_to_wire(sides.sparse), without_dense]


def sides_from_wire(body: Sequence[Any]) -> SideHits:
    elapsed, dense, sparse, without_dense = body
    known = None if without_dense is None else frozenset(map(id_of_key, _keys(without_dense)))
    return SideHits(_hits(*dense), _hits(*sparse), elapsed, known)


def _side_to_wire(side: Side) -> list[Any]:
    return [b"".join(side.keys), side.scores, side.payloads]


def _hits(joined: bytes, scores: list[float], payloads: list[dict[str, Any]] | None) -> PackedHits:
    return PackedHits(_keys(joined), scores, payloads)


def _keys(joined: bytes) -> list[bytes]:
    return [joined[start : start + _KEY] for start in range(0, len(joined), _KEY)]


def filter_to_wire(wanted: Filter | None) -> list[Any] | None:
    if wanted is None:
        return None
    body: list[Any] = [
        [item.key, list(item.any_of), list(item.none_of), item.prefix, [list(bound) for bound in item.bounds]]
        for item in wanted.conditions
    ]
    return body if wanted.native is None else [*body, wanted.native]


def filter_from_wire(body: Sequence[Any] | None) -> Filter | None:
    if body is None:
        return None
    return Filter(
        tuple(
            Condition(
                key, tuple(any_of), tuple(none_of), prefix, tuple((name, value) for name, value in bounds)
            )
            for key, any_of, none_of, prefix, bounds in (item for item in body if not isinstance(item, str))
        ),
        native=next((item for item in body if isinstance(item, str)), None),
    )
