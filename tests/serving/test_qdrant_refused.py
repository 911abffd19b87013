"""Qdrant's API where it says no, and where it answers more than the client: writes, keys, the dashboard."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from indexing import identity
from indexing.catalog.records import DocumentRecord
from indexing.dashboard.requests import ConsoleRequest, Subject, requests_about
from indexing.errors import SettingsError
from serving.access.keys import KeyStore
from tests.fakes.points import DIMENSIONS, embedding, point_id
from tests.fakes.qdrant_live import COUNT, NAME, PATIENCE_S, Live, serving, vectors

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: every test but one only reads from the same service."""
    return "asyncio"


DEEP: dict[str, Any] = {"must": [{"key": "page", "range": {"gte": 0.0}}]}
for _ in range(9):
    DEEP = {"must": [DEEP]}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no vector name": ({"query": vectors(1)[0]}, "accepted: dense, sparse"),
    "dimensions": ({"query": [1.0, 2.0], "using": "dense"}, f"expected dim: {DIMENSIONS}, got 2"),
    "all zeros": ({"query": [0.0] * DIMENSIONS, "using": "dense"}, "not all zero"),
    "index twice": (
        {"query": {"indices": [1, 1], "values": [1.0, 1.0]}, "using": "sparse"},
        "no index twice",
    ),
    "lengths": (
        {"query": {"indices": [1, 2], "values": [1.0]}, "using": "sparse"},
        "one value for each index",
    ),
    "recommend": (
        {"query": {"recommend": {"positive": [1]}}, "using": "dense"},
        "not served; accepted: a vector",
    ),
    "random": ({"query": {"sample": "random"}}, "accepted"),
    "mmr": ({"query": {"nearest": vectors(1)[0], "mmr": {}}, "using": "dense"}, "mmr is not served"),
    "shard": ({"query": vectors(1)[0], "using": "dense", "shard_key": "a"}, "shard_key is not served"),
    "fusion of nothing": ({"query": {"fusion": "rrf"}}, "fusion needs prefetches"),
    "limit": ({"limit": 10_001}, "limit is 1 to 10000"),
    "many vectors": ({"limit": 1_001, "with_vector": True}, "with vectors to 1000"),
    "offset": ({"offset": -1}, "offset"),
    "unknown field": ({"nonsense": 1}, "Format error in JSON body"),
    "geo": (
        {"filter": {"must": [{"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": 1.0}}]}},
        "geo_radius is asked of it; accepted: match",
    ),
    "a large number": (
        {"filter": {"must": [{"key": "page", "match": {"value": 2**70}}]}},
        "not a number of 64 bits",
    ),
    "a bad path": ({"filter": {"must": [{"key": 'a"[', "match": {"value": 1}}]}}, "is not a path"),
    "no path": ({"filter": {"must": [{"is_null": {"key": ""}}]}}, "is not a path"),
    "dates": (
        {"filter": {"must": [{"key": "a", "range": {"gte": "2020-01-01T00:00:00Z"}}]}},
        "dates are not served",
    ),
    "an id below zero": ({"filter": {"must": [{"has_id": [-1]}]}}, "unsigned"),
    "nested objects": (
        {"filter": {"must": [{"nested": {"key": "a", "filter": {}}}]}},
        "NestedCondition is not served",
    ),
    "nothing asked": ({"filter": {"must": [{"key": "a"}]}}, "nothing is asked of it"),
    "many conditions": (
        {"filter": {"must": [{"key": "page", "range": {"gte": 0.0}}] * 1001}},
        "more than 1000 conditions",
    ),
    "deep filter": ({"filter": DEEP}, "nested more than 8 levels"),
    "deep": (
        {"prefetch": {"prefetch": {"prefetch": {"prefetch": {"prefetch": {"query": [1.0]}}}}}},
        "nested more than 4",
    ),
    "rrf of zero": (
        {"prefetch": [{"query": vectors(1)[0], "using": "dense"}], "query": {"rrf": {"k": 0}}},
        "k of 1 or more",
    ),
}


async def test_what_is_not_served_says_what_is(live: Live) -> None:
    path = f"{live.url}/collections/{NAME}/points/query"
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        for name, (body, said) in REFUSED.items():
            answer = await client.post(path, json=body)
            assert answer.status_code == 400, (name, answer.text)
            assert said in answer.json()["status"]["error"], (name, answer.text)
            assert isinstance(answer.json()["time"], float)
        assert (await client.post(path, content=b"{")).status_code == 400
        for unknown in (
            client.post(f"{live.url}/collections/other/points/scroll", json={}),
            client.post(f"{live.url}/collections/{NAME}/points/query/groups", json={"group_by": "doc_id"}),
            client.get(f"{live.url}/collections/{NAME}/points/{point_id(999)}"),
            client.post(path, json={"query": point_id(999), "using": "dense"}),
        ):
            answer = await unknown
            assert answer.status_code == 404
            assert answer.json()["status"]["error"]
        facets = await client.post(f"{live.url}/collections/{NAME}/facet", json={"key": "text"})
        assert facets.status_code == 400
        assert "accepted: tenant" not in facets.text
        assert "doc_id" in facets.text


async def test_every_write_is_refused(live: Live) -> None:
    client = live.client
    where = models.Filter(must=[])
    dense, _ = vectors(1)
    attempts = {
        "upsert": client.upsert(NAME, [models.PointStruct(id=1, vector={"dense": dense}, payload={})]),
        "delete": client.delete(NAME, models.FilterSelector(filter=where)),
        "set_payload": client.set_payload(NAME, {"a": 1}, points=[point_id(1)]),
        "overwrite_payload": client.overwrite_payload(NAME, {"a": 1}, points=[point_id(1)]),
        "delete_payload": client.delete_payload(NAME, ["text"], points=[point_id(1)]),
        "clear_payload": client.clear_payload(NAME, [point_id(1)]),
        "update_vectors": client.update_vectors(NAME, [models.PointVectors(id=1, vector={"dense": dense})]),
        "delete_vectors": client.delete_vectors(NAME, ["dense"], [point_id(1)]),
        "batch_update": client.batch_update_points(
            NAME,
            [
                models.ClearPayloadOperation(
                    clear_payload=models.FilterSelector(filter=models.Filter(must=[]))
                )
            ],
        ),
        "create_collection": client.create_collection("other", vectors_config={}),
        "update_collection": client.update_collection(NAME, hnsw_config=models.HnswConfigDiff(m=8)),
        "delete_collection": client.delete_collection(NAME),
        "create_index": client.create_payload_index(NAME, "a", "keyword"),
        "delete_index": client.delete_payload_index(NAME, "page"),
        "aliases": client.update_collection_aliases(
            [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="a"))]
        ),
        "snapshot": client.create_snapshot(NAME),
        "full_snapshot": client.create_full_snapshot(),
        "delete_snapshot": client.delete_snapshot(NAME, "a"),
        "recover": client.recover_snapshot(NAME, "file:///a"),
    }
    for name, attempt in attempts.items():
        with pytest.raises(UnexpectedResponse) as refused:
            await attempt
        assert refused.value.status_code == 403, name
        assert b"only reads" in refused.value.content, name
    assert (await client.count(NAME)).count == COUNT


async def test_what_the_dashboard_asks_besides(live: Live) -> None:
    async with httpx.AsyncClient(base_url=live.url + "/", timeout=PATIENCE_S) as client:
        assert (await client.get("cluster")).json()["result"]["status"] == "disabled"
        assert (await client.get(f"collections/{NAME}/cluster")).json()["result"]["shard_count"] == 1
        assert (await client.get(f"collections/{NAME}/snapshots")).json()["result"] == []
        assert (await client.get("healthz")).status_code == 200
        assert (await client.get("dashboard")).status_code == 404


async def test_every_ready_made_request_is_answered(live: Live) -> None:
    """What ``python -m indexing dashboard`` prints, asked of the running service."""
    words = embedding(np.random.default_rng(2)).sparse
    document = DocumentRecord("default", "doc-001", "v1", "One", "text/plain", 5, 50, (), {}, "")
    subject = Subject(NAME, document, 2, "sentence", words)
    computed = identity.point_id("default", "doc-001", "v1", 2)
    answered = 0
    async with httpx.AsyncClient(base_url=live.url + "/", timeout=PATIENCE_S) as client:
        for one in requests_about(subject):
            if one.server_only:
                continue
            # The points of these tests have ids of their own.
            body = json.dumps(one.body).replace(computed, point_id(7)) if one.body else None
            path = one.path.replace(computed, point_id(7))
            answer = await client.request(one.method, path, content=body)
            assert answer.status_code == 200, (one.question, answer.text)
            assert _found(one, answer.json()["result"]), one.question
            answered += 1
    assert answered == 14


def _found(request: ConsoleRequest, result: Any) -> bool:
    """Whether the answer has something in it, where there is something to find."""
    if request.path.endswith("/snapshots"):
        return bool(result == [])
    if request.path.endswith("/points/count"):
        return bool(result["count"] >= 0)
    return bool(result.get("points", result.get("hits", result)) if isinstance(result, dict) else result)


async def _keys_open_their_tenant(home: Path, url: str) -> None:
    """The client's own ``api_key`` is one of the service's keys, with its tenant and its scopes."""
    store = KeyStore(home)
    counts = {}
    for tenant, scope in (("default", "read"), ("other", "read"), ("default", "write")):
        key = store.create(f"{tenant} {scope}", tenants=[tenant], scopes=[scope]).text()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
            client = AsyncQdrantClient(
                url=url, api_key=key, timeout=int(PATIENCE_S), check_compatibility=False
            )
        try:
            if scope == "write":
                with pytest.raises(UnexpectedResponse, match="403"):
                    await client.get_collection(NAME)
                continue
            info = await client.get_collection(NAME)
            counts[tenant] = (await client.count(NAME)).count, info.points_count, info.indexed_vectors_count
        finally:
            await client.close()
    store.close()
    assert counts == {"default": (COUNT, COUNT, None), "other": (0, 0, None)}


async def test_the_dashboard_s_files_where_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>dashboard</title>")
    (folder / "assets" / "index.js").write_text("1")
    async with (
        serving(tmp_path, qdrant_dashboard=folder, require_keys=True) as live,
        httpx.AsyncClient(base_url=live.url + "/", timeout=PATIENCE_S) as client,
    ):
        page = await client.get("dashboard")
        assert page.status_code == 200
        assert "worker-src" in page.headers["content-security-policy"]
        assert (await client.get("dashboard/")).headers["location"] == "../dashboard"
        for path in ("assets/index.js", "dashboard/assets/index.js"):
            assert (await client.get(path)).text == "1"
        # Its files hold nothing of anybody's; the interface behind it asks for a key.
        assert (await client.get("collections")).status_code == 401
        assert "API key" in (await client.get("collections")).json()["status"]["error"]
        await _keys_open_their_tenant(tmp_path / "home", live.url)
    with pytest.raises(SettingsError, match=r"no index\.html"):
        await serving(tmp_path, qdrant_dashboard=tmp_path).__aenter__()
