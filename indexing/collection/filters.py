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

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indexing.errors import FilterError
from indexing.records import Scalar

CORE_FIELDS = frozenset(
    {"doc_id", "version", "source", "title", "section", "ordinal", "page", "start", "end"}
)
_RANGE = ("gt", "gte", "lt", "lte")
_OPERATORS = (*_RANGE, "prefix", "not")
_MAX_VALUES = 1000
_PREFIX = "metadata."
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
_INTEGER_CORE = frozenset({"ordinal", "page", "start", "end"})


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
    """Conditions that must all hold.

    ``native`` is one more of them: a filter in Qdrant's own JSON, which can say
    what conditions cannot (see ``indexing.collection.native_filters``).
    """

    conditions: tuple[Condition, ...]
    native: str | None = None


@dataclass(frozen=True, slots=True)
class Alternatives:
    """A condition's values by the kind of match an engine needs for each.

    A number in the metadata equals 3 whether it was stored as 3 or 3.0, so
    ``numbers`` become ranges; the core integer fields match exactly.
    """

    strings: tuple[str, ...]
    integers: tuple[int, ...]
    numbers: tuple[float, ...]
    booleans: tuple[bool, ...]


def alternatives(key: str, values: tuple[Scalar, ...]) -> Alternatives:
    """Sort the values of an ``any_of`` or ``none_of`` by kind."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    exact = key in _INTEGER_CORE
    return Alternatives(
        strings=tuple(value for value in values if isinstance(value, str)),
        integers=tuple(int(value) for value in numbers if exact and value == int(value)),
        numbers=() if exact else tuple(float(value) for value in numbers),
        booleans=tuple(value for value in values if isinstance(value, bool)),
    )


def json_path(key: str) -> str:
    """The engine's path of a key: a metadata name with dots or blanks is quoted.

    >>> json_path("page"), json_path("metadata.year"), json_path("metadata.fiscal year")
    ('page', 'metadata.year', 'metadata."fiscal year"')
    """
    if not key.startswith(_PREFIX):
        return key
    name = key.removeprefix(_PREFIX)
    return key if _PLAIN_NAME.fullmatch(name) else f'{_PREFIX}"{name}"'


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
    if name in CORE_FIELDS:
        return name
    name = name.removeprefix(_PREFIX)
    if not name or '"' in name or not _is_text(name):
        raise FilterError(f"{name!r} is not a metadata field's name: it is empty or holds a double quote")
    return _PREFIX + name


def _is_text(value: str) -> bool:
    """Whether the string can be sent: a lone surrogate cannot."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


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
        if not isinstance(prefix, str) or not prefix or not _is_text(prefix):
            raise FilterError(f"filter {key!r}: prefix takes a non-empty string")
        found.append(Condition(key, prefix=prefix))
    if "not" in operators:
        found.append(Condition(key, none_of=_values(key, operators["not"])))
    return found


def _values(key: str, value: object) -> tuple[Scalar, ...]:
    items: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    if not items or len(items) > _MAX_VALUES:
        raise FilterError(f"filter {key!r}: give 1 to {_MAX_VALUES} values")
    for item in items:
        if not isinstance(item, str | int | float | bool):
            raise FilterError(
                f"filter {key!r}: a value is a string, number or boolean, not {type(item).__name__}"
            )
        if isinstance(item, str) and not _is_text(item):
            raise FilterError(f"filter {key!r}: {item!r} is not valid Unicode")
        if not isinstance(item, str) and not -(2**63) <= item < 2**63:
            raise FilterError(f"filter {key!r}: {item!r} is not a finite number of 64 bits")
    return tuple(items)


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(f"filter {key!r}: a range bound is a number, not {value!r}")
    try:
        bound = float(value)
    except OverflowError:
        bound = math.inf
    if not math.isfinite(bound):
        raise FilterError(f"filter {key!r}: a range bound is a finite number, not {value!r}")
    return bound
