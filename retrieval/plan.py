"""A request checked against its limits and completed from the settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast, get_args

from indexing.collection.filters import Filter, parse_filter
from indexing.errors import QueryError
from indexing.records import Mode
from indexing.settings import RetrievalSettings
from retrieval.records import Branch, Fusion, SearchRequest

MAX_TOP_K = 1000
MAX_WINDOW_SIZE = 50
MAX_BRANCHES = 12
_MODES = get_args(Mode)
_FUSIONS = get_args(Fusion)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one search is going to do; every value decided."""

    query: str
    tenant: str
    mode: Mode
    fusion: Fusion
    top_k: int
    top_n: int
    window_size: int
    filter: Filter | None
    rerank: bool | None
    branches: tuple[Branch, ...] = ()
    per_source_cap: int = 0
    source_field: str | None = None


def make_plan(request: SearchRequest, settings: RetrievalSettings) -> Plan:
    """Return the complete plan of a request.

    A ``top_k`` that was not asked for grows with ``top_n``; one that was asked
    for and is smaller than ``top_n`` is refused.

    Raises:
        QueryError: an empty or over-long query, text that is not valid
            Unicode, an unknown mode or fusion, a number out of range.
        FilterError: see :func:`indexing.collection.filters.parse_filter`.
    """
    top_n = _within("top_n", request.top_n, settings.top_n, 1, MAX_TOP_K)
    top_k = _within("top_k", request.top_k, max(settings.top_k, top_n), 1, MAX_TOP_K)
    if request.top_n is None:
        top_n = min(top_n, top_k)
    elif top_n > top_k:
        raise QueryError(f"top_n ({top_n}) is larger than top_k ({top_k}); accepted: at most top_k")
    default_fusion = "rrf" if request.branches else settings.fusion
    return Plan(
        query=_query(request.query, settings.max_query_chars),
        tenant=_tenant(request.tenant),
        mode=cast(Mode, _one_of("mode", request.mode, settings.mode, _MODES)),
        fusion=cast(Fusion, _one_of("fusion", request.fusion, default_fusion, _FUSIONS)),
        top_k=top_k,
        top_n=top_n,
        window_size=_within("window_size", request.window_size, settings.window_size, 0, MAX_WINDOW_SIZE),
        filter=parse_filter(request.filter),
        rerank=request.rerank,
        branches=_branches(request.branches, settings.max_query_chars),
        per_source_cap=_within(
            "per_source_cap", request.per_source_cap, settings.per_source_cap, 0, MAX_TOP_K
        ),
        source_field=settings.source_field,
    )


def _branches(branches: tuple[Branch, ...], longest: int) -> tuple[Branch, ...]:
    if len(branches) > MAX_BRANCHES:
        raise QueryError(f"{len(branches)} branches; at most {MAX_BRANCHES} are accepted")
    for branch in branches:
        _query(branch.text, longest)
        if not (math.isfinite(branch.weight) and branch.weight > 0):
            raise QueryError(f"branch {branch.name!r} has weight {branch.weight!r}; it must be above 0")
    return branches


def _query(query: str, longest: int) -> str:
    text = query.strip()
    if not text:
        raise QueryError("the query is empty: ask with at least one word")
    if len(text) > longest:
        raise QueryError(f"the query has {len(text)} characters; at most {longest} are accepted")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"the query is not valid Unicode: a lone surrogate at {error.start}") from error
    return text


def _tenant(tenant: str) -> str:
    if not tenant:
        raise QueryError("the tenant is empty")
    return tenant


def _within(name: str, value: int | None, default: int, low: int, high: int) -> int:
    if value is None:
        return default
    if not low <= value <= high:
        raise QueryError(f"{name} is {value}; accepted: {low} to {high}")
    return value


def _one_of(name: str, value: str | None, default: str, accepted: tuple[str, ...]) -> str:
    if value is None:
        return default
    if value not in accepted:
        raise QueryError(f"{name} is {value!r}; accepted: {', '.join(accepted)}")
    return value
