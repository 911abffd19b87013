"""Every vector is checked here before it reaches an engine.

A sparse vector whose indices and values differ in length makes the embedded
engine panic and poisons its write-ahead log; NaN and duplicate indices are
accepted and spoil every later score.  So nothing is written that was not
checked, and a whole batch is checked before its first point is written.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from indexing.collection.protocol import INTEGER_FIELDS, KEYWORD_FIELDS, CollectionSpec
from indexing.errors import CollectionError, FilterError, QueryError, VectorError
from indexing.records import Embedding, FloatArray, Point, SparseVector, TokenVectors

_INDEX_LIMIT = 2**32
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLOAT16_MAX = float(np.finfo(np.float16).max)
_MAX_DEPTH = 8
MAX_TOP_K = 10_000
# What the engine takes as one multivector; see MAX_MULTIVECTOR_FLATTENED_LEN in Qdrant's source.
MAX_TOKEN_NUMBERS = 2**20


def check_points(points: Sequence[Point], spec: CollectionSpec) -> None:
    """Raise VectorError when any point of the batch must not reach an engine."""
    for point in points:
        check_id(point.id)
        check_embedding(point.embedding, spec.dimensions, point.id)
        if point.embedding.tokens is not None:
            check_tokens(point.embedding.tokens, spec, point.id)
        check_payload(point.payload, point.id)


def check_id(identifier: object) -> None:
    """Raise VectorError unless the id is a UUID in its canonical text form."""
    try:
        canonical = str(uuid.UUID(identifier)) if isinstance(identifier, str) else None
    except ValueError:
        canonical = None
    if canonical is None or canonical != identifier:
        raise VectorError(f"a point's id is a lower-case UUID with hyphens, not {identifier!r}")


def check_ids(identifiers: Iterable[object]) -> None:
    for identifier in identifiers:
        check_id(identifier)


def check_embedding(embedding: Embedding, dimensions: int, where: str) -> None:
    """Check both vectors; ``where`` names the point (or the query) in messages."""
    if embedding.dense is not None:
        check_dense(embedding.dense, dimensions, where)
    check_sparse(embedding.sparse, where)


def check_dense(vector: FloatArray, dimensions: int, where: str) -> None:
    """Raise VectorError unless float32, shape ``(dimensions,)``, finite and not zero."""
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32:
        kind = getattr(vector, "dtype", type(vector).__name__)
        raise VectorError(f"{where}: the dense vector is a float32 array, not {kind}")
    if vector.shape != (dimensions,):
        raise VectorError(
            f"{where}: the dense vector has shape {vector.shape}, the collection ({dimensions},)"
        )
    # One pass finds NaN, infinity and zero: the squared length in float64 cannot overflow.
    squared = float(np.dot(vector, vector.astype(np.float64)))
    if not math.isfinite(squared):
        raise VectorError(f"{where}: the dense vector holds NaN or infinity")
    if squared == 0.0:
        raise VectorError(f"{where}: the dense vector is all zeros, which has no direction")


def check_tokens(vectors: TokenVectors, spec: CollectionSpec, where: str) -> None:
    """Raise VectorError unless the collection stores such vectors and these are sound."""
    if not spec.token_dimensions:
        raise VectorError(f"{where}: the collection stores no token vectors")
    check_rows(vectors.tokens, spec.token_dimensions, where)
    if vectors.tokens.size > MAX_TOKEN_NUMBERS:
        raise VectorError(f"{where}: {len(vectors.tokens)} token vectors are more than the engine takes")
    pooled = vectors.pooled
    if pooled is None or not spec.pooled_dimensions:
        if (pooled is None) == bool(spec.pooled_dimensions):
            raise VectorError(f"{where}: the pooled vector is missing, or the collection stores none")
        return
    if pooled.dtype != np.float32 or pooled.shape != (spec.pooled_dimensions,):
        raise VectorError(
            f"{where}: the pooled vector is float32 of shape ({spec.pooled_dimensions},), "
            f"not {pooled.dtype} {pooled.shape}"
        )
    if not (np.abs(pooled) <= _FLOAT16_MAX).all():
        raise VectorError(f"{where}: the pooled vector holds a number that is no finite float16")


def check_rows(tokens: FloatArray, dimensions: int, where: str) -> None:
    """Raise VectorError unless float32, shape ``(1 or more, dimensions)``, finite, no row all zeros."""
    if not isinstance(tokens, np.ndarray) or tokens.dtype != np.float32:
        kind = getattr(tokens, "dtype", type(tokens).__name__)
        raise VectorError(f"{where}: token vectors are a float32 array, not {kind}")
    if tokens.ndim != 2 or not len(tokens) or tokens.shape[1] != dimensions:
        raise VectorError(
            f"{where}: the token vectors have shape {tokens.shape}, the collection (any, {dimensions})"
        )
    squared = np.einsum("td,td->t", tokens, tokens, dtype=np.float64)
    if not np.isfinite(squared).all():
        raise VectorError(f"{where}: the token vectors hold NaN or infinity")
    if not squared.all():
        raise VectorError(f"{where}: a token vector is all zeros, which has no direction")


def check_stores_tokens(spec: CollectionSpec) -> None:
    if not spec.token_dimensions:
        raise CollectionError(
            "the collection stores no token vectors; set encoders.late_interaction and run: "
            "python -m indexing reindex"
        )


def check_sparse(vector: SparseVector, where: str) -> None:
    """Raise VectorError unless indices ascend strictly in [0, 2**32) and values are finite."""
    if len(vector.indices) != len(vector.values):
        raise VectorError(
            f"{where}: the sparse vector has {len(vector.indices)} indices and {len(vector.values)} values"
        )
    previous = -1
    for index in vector.indices:
        if type(index) is not int:
            raise VectorError(f"{where}: a sparse index is an int, not {type(index).__name__}")
        if not previous < index < _INDEX_LIMIT:
            raise VectorError(
                f"{where}: sparse indices ascend strictly within [0, 2**32); {index} follows {previous}"
            )
        previous = index
    for value in vector.values:
        if isinstance(value, bool) or not isinstance(value, float | int):
            raise VectorError(f"{where}: a sparse value is a float, not {type(value).__name__}")
        if not abs(value) <= _FLOAT32_MAX:
            raise VectorError(f"{where}: the sparse vector holds {value!r}, which is no finite float32")


def check_payload(payload: Mapping[str, object], where: str) -> None:
    """Raise VectorError unless the payload is JSON and names tenant and document."""
    for field in ("tenant", "doc_id"):
        value = payload.get(field)
        if not isinstance(value, str) or not value:
            raise VectorError(f"{where}: payload field {field!r} is a non-empty string, not {value!r}")
    _check_json(payload, where, _MAX_DEPTH)


def check_top_k(top_k: int) -> None:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
        raise QueryError(f"top_k is a whole number from 1 to {MAX_TOP_K}, not {top_k!r}")


def check_facet(key: str, limit: int) -> None:
    """Raise FilterError for a field without an index: its values cannot be counted in every home."""
    accepted = [field for field in (*KEYWORD_FIELDS, *INTEGER_FIELDS) if field != "tenant"]
    if key not in accepted:
        raise FilterError(f"values of {key!r} cannot be counted; accepted: {', '.join(accepted)}")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_TOP_K:
        raise FilterError(f"limit is a whole number from 1 to {MAX_TOP_K}, not {limit!r}")


def _check_json(value: object, where: str, depth: int) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise VectorError(f"{where}: payload holds {value}, which does not fit 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise VectorError(f"{where}: payload holds {value!r}, which is not JSON")
    elif depth == 0:
        raise VectorError(f"{where}: payload is nested more than {_MAX_DEPTH} levels deep")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise VectorError(f"{where}: a payload key is a string, not {key!r}")
            _check_text(key, where)
            _check_json(item, where, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(item, where, depth - 1)
    else:
        raise VectorError(f"{where}: payload holds a {type(value).__name__}, which is not JSON")


def _check_text(text: str, where: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise VectorError(f"{where}: payload text is not valid Unicode: {error.reason}") from error
