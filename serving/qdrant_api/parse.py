"""From Qdrant's request models to the collection's arguments; what is not accepted says so.

Importing this module imports ``qdrant_client``, which takes a second: the
routes do so in a thread, at the first request.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from qdrant_client.http import models

from indexing.collection.protocol import DENSE, SPARSE, CollectionSpec
from indexing.errors import InputError
from indexing.records import FloatArray, SparseVector

Body = TypeVar("Body", bound=BaseModel)

MAX_LIMIT = 10_000
MAX_WITH_VECTORS = 1_000
_SHOWN_ERRORS = 3
_INDEX_LIMIT = 2**32


def read_body(kind: type[Body], raw: bytes) -> Body:
    """Return the request.

    Raises:
        InputError: it is not JSON, or not of this kind.
    """
    try:
        return kind.model_validate_json(raw or b"{}")
    except ValidationError as error:
        # A union reports every alternative: the first few say enough, and no value is repeated.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in found]
        raise InputError(f"Format error in JSON body: {'; '.join(lines[:_SHOWN_ERRORS])}") from error


def refuse(body: BaseModel, names: tuple[str, ...]) -> None:
    """Raise when the request sets a field that this interface does not serve.

    Raises:
        InputError: as said.
    """
    given = [name for name in names if getattr(body, name, None) not in (None, False)]
    if given:
        accepted = sorted(set(type(body).model_fields) - set(names))
        raise InputError(f"Wrong input: {', '.join(given)} is not served; accepted: {', '.join(accepted)}")


def limit_of(limit: int | None, *, with_vectors: bool, default: int = 10) -> int:
    """Return how many rows are asked for.

    Raises:
        InputError: fewer than 1, or more than one answer carries.
    """
    wanted = default if limit is None else limit
    most = MAX_WITH_VECTORS if with_vectors else MAX_LIMIT
    if not 1 <= wanted <= most:
        raise InputError(f"Wrong input: limit is 1 to {MAX_LIMIT}, with vectors to {MAX_WITH_VECTORS}")
    return wanted


def offset_of(offset: int | None) -> int:
    """Return how many hits are passed over.

    Raises:
        InputError: it is negative, or too large.
    """
    if offset is not None and not 0 <= offset <= MAX_LIMIT:
        raise InputError(f"Wrong input: offset is 0 to {MAX_LIMIT}")
    return offset or 0


def point_key(identifier: models.ExtendedPointId) -> str | None:
    """Return the id as the collection writes it; None for one that no point here can have."""
    try:
        # From JSON the models make UUIDs of what looks like one.
        return None if isinstance(identifier, int) else str(uuid.UUID(str(identifier)))
    except ValueError:
        return None


def side_of(using: str | None) -> str:
    """Return the vector's name.

    Raises:
        InputError: there is no such vector; there is no default one.
    """
    if using not in (DENSE, SPARSE):
        raise InputError(
            f"Wrong input: Not existing vector name error: {using or ''}; accepted: {DENSE}, {SPARSE}"
        )
    return using


def dense_vector(values: list[float], spec: CollectionSpec) -> FloatArray:
    """Return the query's dense vector.

    Raises:
        InputError: another length, a value that is not finite, or all zeros.
    """
    if len(values) != spec.dimensions:
        raise InputError(
            f"Wrong input: Vector dimension error: expected dim: {spec.dimensions}, got {len(values)}"
        )
    with np.errstate(over="ignore"):
        vector = np.asarray(values, dtype=np.float32)
    if not np.isfinite(vector).all() or not vector.any():
        raise InputError("Wrong input: a dense vector has finite values that are not all zero")
    return vector


def sparse_vector(vector: models.SparseVector) -> SparseVector:
    """Return the query's term weights, by index.

    Raises:
        InputError: indices and values that do not pair, an index twice or out
            of range, or a value that is not finite.
    """
    pairs = sorted(zip(vector.indices, vector.values, strict=False))
    indices = tuple(index for index, _ in pairs)
    sound = len(vector.indices) == len(vector.values) == len(set(indices))
    if not sound or any(not 0 <= index < _INDEX_LIMIT for index in indices):
        raise InputError("Wrong input: a sparse vector has one value for each index, and no index twice")
    with np.errstate(over="ignore"):
        if not np.isfinite(np.asarray(vector.values, dtype=np.float32)).all():
            raise InputError("Wrong input: a sparse vector has finite values")
    return SparseVector(indices, tuple(float(value) for _, value in pairs))


def wants_vectors(with_vector: models.WithVector | None) -> bool:
    """Return whether any vector is asked for."""
    return bool(with_vector)


def chosen_payload(
    payload: Mapping[str, object], asked: models.WithPayloadInterface | None, *, default: bool
) -> dict[str, object] | None:
    """Return the part of a payload that is asked for; None for none of it."""
    wanted = default if asked is None else asked
    if isinstance(wanted, bool):
        return dict(payload) if wanted else None
    if isinstance(wanted, models.PayloadSelectorExclude):
        return _without(payload, [path.split(".") for path in wanted.exclude])
    paths = wanted.include if isinstance(wanted, models.PayloadSelectorInclude) else wanted
    return _with(payload, [path.split(".") for path in paths])


def _with(payload: Mapping[str, object], paths: list[list[str]]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in payload.items():
        below = [path[1:] for path in paths if path[0] == name]
        if [] in below:
            kept[name] = value
        elif below and isinstance(value, Mapping):
            kept[name] = _with(value, below)
    return kept


def _without(payload: Mapping[str, object], paths: list[list[str]]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in payload.items():
        below = [path[1:] for path in paths if path[0] == name]
        if [] in below:
            continue
        kept[name] = _without(value, below) if below and isinstance(value, Mapping) else value
    return kept
