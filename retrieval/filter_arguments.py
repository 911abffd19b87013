"""``--filter`` on the command line: short forms into the filter that the API takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexing.collection.filters import CORE_FIELDS
from indexing.errors import FilterError

_FORM = re.compile(r"\s*([^=<>!^\s][^=<>!^]*?)\s*(>=|<=|!=|\^=|=|>|<)\s*(.+?)\s*", re.DOTALL)
_BOUNDS = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}
_INTEGER_FIELDS = frozenset({"page", "ordinal", "start", "end"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BOOLEANS = {"true": True, "false": False}

Value = str | int | float | bool


def parse_filter_arguments(arguments: Sequence[str]) -> dict[str, object] | None:
    """Return the filter that the arguments spell, or None without any.

    ``key=value`` (repeated: any of the values), ``key!=value`` (none of them),
    ``key^=prefix``, ``key>=3`` and the other comparisons.  A value that looks
    like a number matches a metadata field that holds it as text or as a number.

    Raises:
        FilterError: an argument of another form, a comparison with a word, or
            a key given two forms that exclude each other.

    >>> parse_filter_arguments(["page>=3", "page<9", "section^=Annual report"])
    {'page': {'gte': 3.0, 'lt': 9.0}, 'section': {'prefix': 'Annual report'}}
    """
    equal: dict[str, list[Value]] = {}
    operators: dict[str, dict[str, object]] = {}
    for argument in arguments:
        match = _FORM.fullmatch(argument)
        if match is None:
            raise FilterError(
                f"--filter {argument!r}: write key=value, key!=value, key^=prefix or key>=3 (>, <=, <)"
            )
        key, sign, value = match.groups()
        if sign == "=":
            equal.setdefault(key, []).extend(_values(key, value))
        else:
            _operator(operators.setdefault(key, {}), key, sign, value)
    twice = sorted(set(equal) & set(operators))
    if twice:
        raise FilterError(f"--filter: {', '.join(twice)} has both a value and a comparison; give one")
    return {**equal, **operators} or None


def _operator(found: dict[str, object], key: str, sign: str, value: str) -> None:
    if sign == "!=":
        unwanted = found.setdefault("not", [])
        if isinstance(unwanted, list):
            unwanted.extend(_values(key, value))
        return
    name = "prefix" if sign == "^=" else _BOUNDS[sign]
    if name in found:
        raise FilterError(f"--filter: {key}{sign} is given twice")
    found[name] = value if name == "prefix" else _bound(key, sign, value)


def _bound(key: str, sign: str, value: str) -> float:
    if not _NUMBER.fullmatch(value):
        raise FilterError(f"--filter {key}{sign}{value}: a comparison takes a number")
    return float(value)


def _values(key: str, value: str) -> list[Value]:
    if key in _INTEGER_FIELDS and value.lstrip("+-").isdecimal():
        return [int(value)]
    if key in CORE_FIELDS:
        return [value]
    found: list[Value] = [value]
    if value.lower() in _BOOLEANS:
        found.append(_BOOLEANS[value.lower()])
    elif _NUMBER.fullmatch(value):
        found.append(int(value) if value.lstrip("+-").isdecimal() else float(value))
    return found
