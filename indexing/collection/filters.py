"""A search filter: parsed once, translated by each home, AND over fields.

The form a user writes (JSON)::

    {"section": "Annual report 2021 > Income statement"}   equals
    {"doc_id": ["a", "b"]}                                  any of
    {"page": {"gte": 3, "lt": 9}}                           range
    {"section": {"prefix": "Annual report 2021"}}           starts with
    {"report": {"not": "2019"}}                             none of (value or list)

A key that is not a core payload field addresses the document's metadata:
``report`` and ``metadata.report`` are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexing.errors import FilterError
from indexing.records import Scalar

CORE_FIELDS = frozenset({"doc_id", "version", "source", "title", "section", "ordinal", "page", "start", "end"})
_RANGE = ("gt", "gte", "lt", "lte")
_OPERATORS = (*_RANGE, "prefix", "not")
_MAX_VALUES = 1000


@dataclass(frozen=True, slots=True)
class Condition:
    """One field's demand; exactly one of the four forms is set."""

    key: str
    any_of: tuple[Scalar, ...] = ()
    none_of: tuple[Scalar, ...] = ()
    prefix: str | None = None
    bounds: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold."""

    conditions: tuple[Condition, ...]


def parse_filter(raw: Mapping[str, object] | None) -> Filter | None:
    """Read the user's form; None or {} means no filter.

    Raises:
        FilterError: an unknown operator, an empty list, a value that is not a
            string, number or boolean, or an attempt to name the tenant.
    """
    if not raw:
        return None
    conditions: list[Condition] = []
    for name, value in raw.items():
        conditions.extend(_conditions(name, value))
    return Filter(tuple(conditions))


def _key(name: str) -> str:
    if not name or name == "tenant" or name.startswith("tenant."):
        raise FilterError(f"{name!r} is not a field that a filter can use: tenants are set by the service")
    if name in CORE_FIELDS or name.startswith("metadata."):
        return name
    return f"metadata.{name}"


def _conditions(name: str, value: object) -> list[Condition]:
    key = _key(name)
    if isinstance(value, Mapping):
        return _operators(key, value)
    return [Condition(key, any_of=_values(key, value))]


def _operators(key: str, operators: Mapping[str, object]) -> list[Condition]:
    unknown = sorted(set(operators) - set(_OPERATORS))
    if unknown or not operators:
        raise FilterError(f"filter {key!r}: unknown operator {unknown}; accepted: {', '.join(_OPERATORS)}")
    found: list[Condition] = []
    bounds = tuple((name, _number(key, operators[name])) for name in _RANGE if name in operators)
    if bounds:
        found.append(Condition(key, bounds=bounds))
    if "prefix" in operators:
        prefix = operators["prefix"]
        if not isinstance(prefix, str) or not prefix:
            raise FilterError(f"filter {key!r}: prefix takes a non-empty string")
        found.append(Condition(key, prefix=prefix))
    if "not" in operators:
        found.append(Condition(key, none_of=_values(key, operators["not"])))
    return found


def _values(key: str, value: object) -> tuple[Scalar, ...]:
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items or len(items) > _MAX_VALUES:
        raise FilterError(f"filter {key!r}: give 1 to {_MAX_VALUES} values")
    for item in items:
        if not isinstance(item, str | int | float | bool):
            raise FilterError(f"filter {key!r}: a value is a string, number or boolean, not {type(item).__name__}")
    return tuple(items)


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(f"filter {key!r}: a range bound is a number, not {value!r}")
    return float(value)
