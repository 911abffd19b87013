"""What a Qdrant filter may ask here, checked before any home sees it: the same answer in each."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic import BaseModel
from qdrant_client.http import models

from indexing.collection.filters import Filter
from indexing.errors import FilterError

MAX_DEPTH = 8
MAX_CONDITIONS = 1000
_ACCEPTED = "match, range, values_count, is_empty, is_null"
# Qdrant's paths: names joined by dots, blanks in double quotes, brackets into lists.
_NAME = r'(?:[\w-]+|"[^"]+")(?:\[\d{0,9}\])*'
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*")


def filter_of(*bodies: models.Filter | None) -> Filter | None:
    """Return the conjunction of Qdrant filters as one of ours; None when there is none.

    Raises:
        FilterError: a condition that is not served, a path or a number that
            Qdrant would not take, more than 8 levels or 1,000 conditions.
    """
    given: list[models.Condition] = [body for body in bodies if body is not None]
    if not given:
        return None
    whole = given[0] if len(given) == 1 else models.Filter(must=given)
    _Check().filter(whole, MAX_DEPTH)
    return Filter((), native=whole.model_dump_json(exclude_none=True, by_alias=True))


class _Check:
    """One filter, its conditions counted."""

    def __init__(self) -> None:
        self._left = MAX_CONDITIONS

    def filter(self, body: Any, depth: int) -> None:
        if depth == 0:
            raise FilterError(f"a filter is nested more than {MAX_DEPTH} levels deep")
        least = body.min_should
        clauses = [body.must, body.should, body.must_not, None if least is None else least.conditions]
        if least is not None and not 0 <= least.min_count < 2**31:
            raise FilterError("min_count is a whole number")
        for clause in clauses:
            for condition in clause if isinstance(clause, list) else [clause]:
                if condition is not None:
                    self._condition(condition, depth)

    def _condition(self, body: BaseModel, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise FilterError(f"a filter has more than {MAX_CONDITIONS} conditions")
        if isinstance(body, models.Filter):
            self.filter(body, depth - 1)
        elif isinstance(body, models.FieldCondition):
            _check_field(body)
        elif isinstance(body, models.IsEmptyCondition):
            _check_path(body.is_empty.key)
        elif isinstance(body, models.IsNullCondition):
            _check_path(body.is_null.key)
        elif isinstance(body, models.HasIdCondition):
            for one in body.has_id:
                if isinstance(one, int) and not 0 <= one < 2**64:
                    raise FilterError("has_id: an id is a UUID or an unsigned number")
        elif not isinstance(body, models.HasVectorCondition):
            raise FilterError(
                f"{type(body).__name__} is not served; accepted: key with {_ACCEPTED}; has_id; has_vector; "
                "is_empty; is_null; must, should, must_not and min_should inside"
            )


def _check_path(key: str) -> None:
    if not _PATH.fullmatch(key):
        raise FilterError(f"{key!r} is not a path: names joined by dots, one with blanks in double quotes")


def _check_field(body: models.FieldCondition) -> None:
    _check_path(body.key)
    given = [name for name in type(body).model_fields if name != "key" and getattr(body, name) is not None]
    refused = [name for name in given if name not in _ACCEPTED]
    if refused or not given:
        raise FilterError(
            f"filter {body.key!r}: {', '.join(refused) or 'nothing'} is asked of it; accepted: {_ACCEPTED}"
        )
    if isinstance(body.range, models.DatetimeRange):
        raise FilterError(f"filter {body.key!r}: a range has numbers; dates are not served")
    for part in (body.range, body.values_count):
        for value in () if part is None else part.model_dump(exclude_none=True).values():
            if not math.isfinite(value) or (part is body.values_count and not 0 <= value < 2**31):
                raise FilterError(f"filter {body.key!r}: {value!r} is out of range")
    if body.match is not None:
        for value in body.match.model_dump().values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, int) and not -(2**63) <= one < 2**63:
                    raise FilterError(f"filter {body.key!r}: {one} is not a number of 64 bits")
