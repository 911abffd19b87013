"""Foreign fields to the scalars that a filter can use."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping

from indexing.readers.builder import clean
from indexing.records import Scalar

_MAX_CHARS = 2000  # payloads repeat metadata on every sentence


def scalar(value: object) -> Scalar | None:
    """Return the value as a scalar; None when there is nothing to filter by.

    A list of scalars becomes one string, a date its ISO form, a number that
    no engine stores (NaN, past 64 bits) a string; a mapping becomes None.

    >>> scalar(["a", 1]), scalar(float("nan")), scalar({"a": 1})
    ('a, 1', 'nan', None)
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)[:_MAX_CHARS]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clean(value).strip()[:_MAX_CHARS] or None
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        parts = [str(part) for item in value[:200] if (part := _flat(item)) is not None]
        return ", ".join(parts)[:_MAX_CHARS] or None
    return None


def scalars(fields: Mapping[str, object]) -> dict[str, Scalar]:
    """Return the fields whose values :func:`scalar` can express, keys as text."""
    found = {clean(str(key)): scalar(value) for key, value in fields.items()}
    return {key: value for key, value in found.items() if key and value is not None}


def _flat(item: object) -> Scalar | None:
    return None if isinstance(item, list | tuple | Mapping) else scalar(item)
