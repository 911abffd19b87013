"""What a caller asks of Qdrant's API to get at another tenant's points, by route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Calls = list[tuple[str, dict[str, Any]]]
BASE = "/qdrant/collections/winnow"


def qdrant_requests() -> dict[tuple[str, str], Callable[[Any], Calls]]:
    """Method and path below ``/qdrant`` -> the requests to make, given the other tenant."""
    return {
        ("get", "/"): lambda _: [("/qdrant/", {})],
        ("get", "/collections"): lambda _: [("/qdrant/collections", {})],
        ("get", "/aliases"): lambda _: [("/qdrant/aliases", {})],
        ("get", "/collections/{name}"): lambda _: [(BASE, {})],
        ("get", "/collections/{name}/exists"): lambda _: [(f"{BASE}/exists", {})],
        ("get", "/collections/{name}/points/{point_id}"): lambda other: [
            (f"{BASE}/points/{one}", {}) for one in sorted(other.results)
        ],
        ("post", "/collections/{name}/points"): lambda other: [
            _post("points", {"ids": sorted(other.results), "with_payload": True, "with_vector": True})
        ],
        ("post", "/collections/{name}/points/scroll"): lambda other: [
            _post("points/scroll", {"limit": 1000, "with_payload": True, **more})
            for more in (
                {},
                {"filter": tenant_is(other.name)},
                {"filter": {"should": [tenant_is(other.name), {"must_not": [tenant_is(other.name)]}]}},
                {"filter": {"must": [{"has_id": sorted(other.results)}]}},
                {"offset": min(other.results)},
                {"order_by": "ordinal"},
            )
        ],
        ("post", "/collections/{name}/points/query"): lambda other: [
            _post("points/query", {"limit": 100, "with_payload": True, **more})
            for more in [*_queries(other), {"query": min(other.results), "using": "dense"}]
        ],
        ("post", "/collections/{name}/points/query/batch"): lambda other: [
            _post(
                "points/query/batch", {"searches": [{"with_payload": True, **one} for one in _queries(other)]}
            )
        ],
        ("post", "/collections/{name}/points/count"): lambda other: [
            _post("points/count", {"filter": tenant_is(other.name)})
        ],
        ("post", "/collections/{name}/facet"): lambda other: [
            _post("facet", {"key": key, "limit": 1000, "filter": wanted})
            for key in ("doc_id", "title", "section", "source", "tenant")
            for wanted in (None, {"should": [tenant_is(other.name), {"is_null": {"key": "none"}}]})
        ],
    }


def tenant_is(name: str) -> dict[str, Any]:
    return {"must": [{"key": "tenant", "match": {"value": name}}]}


def _post(path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"{BASE}/{path}", {"json": body}


def _queries(other: Any) -> list[dict[str, Any]]:
    text = {"text": "the secret code of the vault", "model": "winnow"}
    sides = [{"query": text, "using": side, "limit": 100} for side in ("dense", "sparse")]
    return [
        {},
        {"query": text, "using": "dense"},
        {"query": text, "using": "sparse", "filter": tenant_is(other.name)},
        {"prefetch": sides, "query": {"fusion": "rrf"}},
        {
            "prefetch": [{**one, "filter": tenant_is(other.name)} for one in sides],
            "query": {"fusion": "dbsf"},
        },
        {"prefetch": sides, "query": text, "using": "dense"},
    ]
