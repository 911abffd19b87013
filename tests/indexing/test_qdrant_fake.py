"""The fake Qdrant server: what the official client says over HTTP, it does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tests.fakes.faults import Faults, Kind
from tests.fakes.qdrant_server import QdrantServer


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    with QdrantServer() as running:
        yield running


@pytest.fixture
def client(server: QdrantServer) -> Iterator[QdrantClient]:
    made = QdrantClient(url=server.url, timeout=5, check_compatibility=False)
    made.create_collection(
        "a",
        vectors_config={"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata={"kept": 1},
    )
    made.upsert(
        "a",
        [
            models.PointStruct(
                id=number,
                vector={
                    "dense": [1.0, float(number)],
                    "sparse": models.SparseVector(indices=[number], values=[1.0]),
                },
                payload={"tenant": "ab"[number % 2], "number": number},
            )
            for number in range(6)
        ],
    )
    yield made
    made.close()


def test_the_client_reads_back_what_it_wrote(client: QdrantClient) -> None:
    assert client.count("a").count == 6
    rows, after = client.scroll("a", limit=4, with_vectors=True)
    assert [row.id for row in rows] == [0, 1, 2, 3]
    assert after == 4
    assert rows[1].vector["sparse"] == models.SparseVector(indices=[1], values=[1.0])
    assert [row.id for row in client.retrieve("a", [5, 2])] == [5, 2]
    tenant = models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="a"))])
    found = client.query_points("a", [1.0, 4.0], using="dense", query_filter=tenant, limit=2).points
    assert [hit.id for hit in found] == [4, 2]
    client.delete("a", [4])
    client.delete_vectors("a", ["sparse"], [0])
    client.set_payload("a", {"extra": True}, [0])
    row = client.retrieve("a", [0], with_vectors=True)[0]
    assert list(row.vector) == ["dense"]
    assert row.payload == {"tenant": "a", "number": 0, "extra": True}
    assert client.count("a", tenant).count == 2
    info = client.get_collection("a")
    assert info.config.metadata == {"kept": 1}
    assert info.points_count == 5


def test_facets_need_an_index(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="No appropriate index"):
        client.facet("a", "tenant")
    client.create_payload_index("a", "tenant", models.PayloadSchemaType.KEYWORD)
    assert {hit.value: hit.count for hit in client.facet("a", "tenant").hits} == {"a": 3, "b": 3}
    assert client.get_collection("a").payload_schema["tenant"].data_type == "keyword"


def test_aliases(client: QdrantClient) -> None:
    create = models.CreateAlias(collection_name="a", alias_name="live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    assert client.count("live").count == 6
    assert client.collection_exists("live")
    assert [one.alias_name for one in client.get_aliases().aliases] == ["live"]
    assert not client.collection_exists("b")
    with pytest.raises(UnexpectedResponse, match="404"):
        client.count("b")


def test_snapshots(client: QdrantClient, server: QdrantServer) -> None:
    made = client.create_snapshot("a")
    body = httpx.get(f"{server.url}/collections/a/snapshots/{made.name}").content
    assert len(body) == made.size
    client.delete("a", [1, 2, 3])
    assert client.recover_snapshot("a", f"file:///qdrant/snapshots/a/{made.name}")
    assert client.count("a").count == 6
    client.delete_collection("a")
    sent = httpx.post(f"{server.url}/collections/a/snapshots/upload", files={"snapshot": body})
    assert sent.json()["result"] is True
    assert client.count("a").count == 6
    assert client.list_snapshots("a") == [made]


@pytest.mark.parametrize(
    ("kind", "error", "arrives"),
    [
        ("drop", ResponseHandlingException, False),
        ("lose", ResponseHandlingException, True),
        ("truncate", ResponseHandlingException, True),
        ("garble", ValueError, True),
        ("error", UnexpectedResponse, False),
    ],
)
def test_each_fault_is_what_it_says(
    client: QdrantClient, server: QdrantServer, kind: Kind, error: type[Exception], arrives: bool
) -> None:
    server.faults = Faults((kind,), paths="/points", limit=1)
    row = models.PointStruct(id=9, vector={"dense": [1.0, 0.0]})
    with pytest.raises(error):
        client.upsert("a", [row])
    assert server.faults.injected == {kind: 1}
    assert client.count("a").count == (7 if arrives else 6)
    client.upsert("a", [row])
    assert client.count("a").count == 7


def test_a_delay_is_only_late(client: QdrantClient, server: QdrantServer) -> None:
    server.faults = Faults(("delay",), delay_s=0.3)
    started = time.monotonic()
    assert client.count("a").count == 6
    assert time.monotonic() - started >= 0.3
    assert server.faults.injected == {"delay": 1}


def test_faults_follow_their_seed() -> None:
    def drawn(seed: int) -> list[Kind | None]:
        faults = Faults(("drop", "error"), share=0.3, seed=seed, paths="^/points", after=2)
        return [faults.draw("GET", path) for path in ["/points", "/other"] * 20]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1)[:3] == [None] * 3
    assert set(drawn(1)[1::2]) == {None}
    assert {"drop", "error", None} == set(drawn(1))


def test_a_key_is_asked_for() -> None:
    with QdrantServer(api_key="secret") as server:
        assert httpx.get(f"{server.url}/collections").status_code == 401
        assert httpx.get(f"{server.url}/collections", headers={"api-key": "secret"}).status_code == 200


def test_it_runs_as_a_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.qdrant_server"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(url, timeout=20).json()["title"].startswith("qdrant")
    finally:
        process.kill()
        process.wait(20)
