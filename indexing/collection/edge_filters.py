"""Filters in the embedded engine's own words."""

from __future__ import annotations

from typing import cast

import numpy as np
import qdrant_edge as qe

from indexing.collection.filters import Condition, Filter, alternatives, json_path
from indexing.collection.native_filters import native_filter
from indexing.collection.protocol import LINKED_FIELDS
from indexing.records import Scalar

_Conditions = list[
    qe.FieldCondition
    | qe.IsEmptyCondition
    | qe.IsNullCondition
    | qe.HasIdCondition
    | qe.HasVectorCondition
    | qe.NestedCondition
    | qe.Filter
]


def tenant_filter(tenant: str) -> qe.Filter:
    return qe.Filter(must=[_equals("tenant", tenant)])


def document_filter(tenant: str, doc_id: str, keep_version: str | None) -> qe.Filter:
    """A document's points, all versions or all but one."""
    keep: _Conditions | None = None if keep_version is None else [_equals("version", keep_version)]
    return qe.Filter(must=[_equals("tenant", tenant), _equals("doc_id", doc_id)], must_not=keep)


def translate(tenant: str | None, wanted: Filter | None) -> qe.Filter | None:
    """The tenant and every condition, all of which must hold; None when there is neither."""
    must: _Conditions = []
    must_not: _Conditions = []
    if tenant is not None:
        must.append(_equals("tenant", tenant))
    for condition in wanted.conditions if wanted else ():
        (must_not if condition.none_of else must).append(_condition(condition))
    if wanted is not None and wanted.native is not None:
        must.append(native_filter(wanted.native))
    if not must and not must_not:
        return None
    return qe.Filter(must=must or None, must_not=must_not or None)


def _equals(key: str, value: str) -> qe.FieldCondition:
    return qe.FieldCondition(key, match=qe.MatchValue(value))


def _condition(condition: Condition) -> qe.FieldCondition | qe.Filter:
    path = json_path(condition.key)
    if condition.prefix is not None:
        return qe.FieldCondition(path, match=qe.MatchPrefix(condition.prefix))
    if condition.bounds:
        bounds = dict(condition.bounds)
        return qe.FieldCondition(
            path,
            range=qe.RangeFloat(
                gte=bounds.get("gte"), gt=bounds.get("gt"), lte=bounds.get("lte"), lt=bounds.get("lt")
            ),
        )
    return _any_of(condition.key, path, condition.any_of or condition.none_of)


def _any_of(key: str, path: str, values: tuple[Scalar, ...]) -> qe.Filter:
    kinds = alternatives(key, values)
    should: _Conditions = []
    if kinds.strings:
        should.append(qe.FieldCondition(path, match=qe.MatchAny(list(kinds.strings))))
    if kinds.integers:
        should.append(qe.FieldCondition(path, match=qe.MatchAny(list(kinds.integers))))
    for number in kinds.numbers:
        should.append(qe.FieldCondition(path, range=qe.RangeFloat(gte=number, lte=number)))
    for flag in kinds.booleans:
        # A Python bool is an int to the binding and would match 1; NumPy's is not.
        should.append(qe.FieldCondition(path, match=qe.MatchValue(cast(bool, np.bool_(flag)))))
    if not should:
        # 2.5 asked of a whole-number field: nothing equals it, and an empty list would match all.
        should.append(qe.FieldCondition(path, match=qe.MatchAny([])))
    return qe.Filter(should=should)


def carried_by_links(wanted: Filter | None) -> bool:
    """Whether each condition asks for one value, or one prefix, of a field with links of its own.

    >>> carried_by_links(Filter((Condition("source", prefix="reports/"),)))
    True
    >>> carried_by_links(Filter((Condition("title", any_of=("Report",)),)))
    False
    """
    if wanted is None:
        return True
    return wanted.native is None and all(
        one.key in LINKED_FIELDS and (len(one.any_of) == 1 or one.prefix is not None)
        for one in wanted.conditions
    )
