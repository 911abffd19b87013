"""A filter in Qdrant's own JSON, as the embedded engine takes it.

Conditions of :mod:`indexing.collection.filters` say what Winnow's own requests
need.  Whoever speaks Qdrant's REST API may combine ``must``, ``should``,
``must_not`` and ``min_should`` freely and ask for ids, vectors and empty
fields; the server home passes such a filter on, this module gives it to the
embedded engine.  The tenant is added outside of it, so that nothing in it can
reach further.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import qdrant_edge as qe

from indexing.errors import FilterError

MAX_DEPTH = 8
MAX_CONDITIONS = 1000
_CLAUSES = ("must", "should", "must_not", "min_should")
_BOUNDS = ("gte", "gt", "lte", "lt")
_COUNTS = ("gte", "gt", "lte", "lt")


def native_filter(body: str) -> qe.Filter:
    """Return the engine's filter of a JSON text.

    Raises:
        FilterError: a condition that is not one of those in :func:`_condition`,
            more than 8 levels, or more than 1,000 conditions.
    """
    try:
        return _Translation().filter(json.loads(body), MAX_DEPTH)
    except FilterError:
        raise
    except Exception as error:  # the binding's are of no kind of their own
        raise FilterError(f"the engine does not take this filter: {error}") from error


class _Translation:
    """One filter on its way, counting its conditions."""

    def __init__(self) -> None:
        self._left = MAX_CONDITIONS

    def filter(self, body: object, depth: int) -> qe.Filter:
        clauses = _mapping(body, "a filter", _CLAUSES)
        if depth == 0:
            raise FilterError(f"a filter is nested more than {MAX_DEPTH} levels deep")
        least = clauses.get("min_should")
        return qe.Filter(
            must=self._clause(clauses.get("must"), depth),
            should=self._clause(clauses.get("should"), depth),
            must_not=self._clause(clauses.get("must_not"), depth),
            min_should=None if least is None else self._at_least(least, depth),
        )

    def _at_least(self, body: object, depth: int) -> qe.MinShould:
        least = _mapping(body, "min_should", ("conditions", "min_count"))
        return qe.MinShould(
            self._clause(least.get("conditions"), depth) or [], _whole(least.get("min_count"))
        )

    def _clause(self, body: object, depth: int) -> Any:
        if body is None:
            return None
        items = body if isinstance(body, list) else [body]
        return [self._condition(item, depth) for item in items] or None

    def _condition(self, body: object, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise FilterError(f"a filter has more than {MAX_CONDITIONS} conditions")
        if not isinstance(body, Mapping):
            raise FilterError(f"a condition is an object, not {type(body).__name__}")
        if "key" in body:
            return _field(body)
        if "has_id" in body:
            return qe.HasIdCondition({one for one in body["has_id"] if _is_uuid(one)})
        if "has_vector" in body:
            return qe.HasVectorCondition(str(body["has_vector"]))
        if "is_empty" in body:
            return qe.IsEmptyCondition(str(_mapping(body["is_empty"], "is_empty", ("key",))["key"]))
        if "is_null" in body:
            return qe.IsNullCondition(str(_mapping(body["is_null"], "is_null", ("key",))["key"]))
        if set(body) <= set(_CLAUSES):
            return self.filter(body, depth - 1)
        raise FilterError(
            f"a condition with {', '.join(sorted(map(str, body)))} is not accepted; accepted: key with "
            "match, range, values_count, is_empty or is_null; has_id; has_vector; is_empty; is_null; a filter"
        )


def _is_uuid(value: object) -> bool:
    """Whether a point can have this id: all of them are UUIDs."""
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


def _field(body: Mapping[str, Any]) -> qe.FieldCondition:
    given = {name: value for name, value in body.items() if value is not None and name != "key"}
    makers: dict[str, Callable[[Any], Any]] = {
        "match": _match,
        "range": _range,
        "values_count": _values_count,
        "is_empty": bool,
        "is_null": bool,
    }
    unknown = sorted(set(given) - set(makers))
    if unknown or not given:
        raise FilterError(
            f"filter {body['key']!r}: {', '.join(unknown) or 'nothing'} is asked of it; "
            f"accepted: {', '.join(makers)}"
        )
    return qe.FieldCondition(str(body["key"]), **{name: makers[name](value) for name, value in given.items()})


def _match(body: object) -> Any:
    if not isinstance(body, Mapping) or len(body) != 1:
        raise FilterError("match takes one of: value, any, except, text, text_any, phrase, prefix, substring")
    ((kind, value),) = body.items()
    if kind == "value":
        # A Python bool is an int to the binding and would match 1; NumPy's is not.
        return qe.MatchValue(cast(bool, np.bool_(value)) if isinstance(value, bool) else value)
    words: dict[str, Callable[[Any], Any]] = {
        "any": qe.MatchAny,
        "except": qe.MatchExcept,
        "text": qe.MatchText,
        "text_any": qe.MatchTextAny,
        "phrase": qe.MatchPhrase,
        "prefix": qe.MatchPrefix,
        "substring": qe.MatchSubstring,
    }
    if kind not in words:
        raise FilterError(f"match {kind!r} is not accepted; accepted: value, {', '.join(words)}")
    return words[kind](value)


def _range(body: object) -> qe.RangeFloat:
    bounds = _mapping(body, "range", _BOUNDS)
    for name, value in bounds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise FilterError(f"range {name}: a bound is a finite number, not {value!r}")
    return qe.RangeFloat(**{name: float(bounds[name]) if name in bounds else None for name in _BOUNDS})


def _values_count(body: object) -> qe.ValuesCount:
    counts = _mapping(body, "values_count", _COUNTS)
    return qe.ValuesCount(**{name: _whole(value) for name, value in counts.items()})


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise FilterError(f"a count is a whole number, not {value!r}")
    return value


def _mapping(body: object, what: str, accepted: tuple[str, ...]) -> dict[str, Any]:
    """The object without its nulls; FilterError for anything else, or for other keys."""
    if not isinstance(body, Mapping) or not set(body) <= set(accepted):
        raise FilterError(f"{what} is an object with {', '.join(accepted)}")
    return {name: value for name, value in body.items() if value is not None}
