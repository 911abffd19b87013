"""Qdrant's official client against the service on a real socket: reads as its own server, writes refused.

The same points lie in the client's local mode; every read is asked of both.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from serving.qdrant_api import points as shared
from tests.fakes.points import DIMENSIONS, point_id
from tests.fakes.qdrant_live import COUNT, NAME, PATIENCE_S, Live, vectors

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: every test but one only reads from the same service."""
    return "asyncio"


def queried(answer: models.QueryResponse) -> list[tuple[str, float]]:
    """Ids with their scores, ties by id."""
    return sorted(((str(one.id), one.score) for one in answer.points), key=lambda item: (-item[1], item[0]))


def same_scores(ours: models.QueryResponse, theirs: models.QueryResponse, where: object) -> None:
    """The same scores in the same order; the same points but for ties at the cut."""
    left, right = queried(ours), queried(theirs)
    np.testing.assert_allclose(
        [score for _, score in left], [score for _, score in right], rtol=2e-5, atol=2e-6, err_msg=str(where)
    )
    assert [one.score for one in ours.points] == sorted((one.score for one in ours.points), reverse=True)
    if left:
        cut = left[-1][1] + 1e-5
        assert {key for key, score in left if score > cut} == {key for key, score in right if score > cut}


FILTERS = [
    None,
    models.Filter(must=[models.FieldCondition(key="doc_id", match=models.MatchValue(value="doc-001"))]),
    models.Filter(
        should=[
            models.FieldCondition(key="doc_id", match=models.MatchAny(any=["doc-001", "doc-002"])),
            models.FieldCondition(key="page", range=models.Range(gte=5)),
        ]
    ),
    models.Filter(
        must_not=[
            models.IsEmptyCondition(is_empty=models.PayloadField(key="section")),
            models.Filter(
                must=[models.FieldCondition(key="metadata.draft", match=models.MatchValue(value=True))]
            ),
        ]
    ),
    models.Filter(must_not=[models.HasVectorCondition(has_vector="dense")]),
    models.Filter(must=[models.HasIdCondition(has_id=[point_id(3), point_id(4), "nowhere", 7])]),
    models.Filter(must=[models.FieldCondition(key="text", match=models.MatchText(text="sentence 1"))]),
    models.Filter(
        must=[models.FieldCondition(key="doc_id", match=models.MatchExcept(**{"except": ["doc-001"]}))]
    ),
    models.Filter(
        min_should=models.MinShould(
            min_count=2,
            conditions=[
                models.FieldCondition(key="page", match=models.MatchValue(value=page)) for page in (1, 2)
            ]
            + [models.FieldCondition(key="ordinal", range=models.Range(lt=3))],
        )
    ),
    models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="other"))]),
]


async def test_what_there_is(live: Live) -> None:
    assert [one.name for one in (await live.client.get_collections()).collections] == [NAME]
    assert await live.client.collection_exists(NAME)
    assert not await live.client.collection_exists("other")
    assert (await live.client.get_aliases()).aliases == []
    info, local = await live.client.get_collection(NAME), await live.local.get_collection(NAME)
    assert info.points_count == local.points_count == COUNT
    assert info.status == models.CollectionStatus.GREEN
    assert info.config.params.vectors == local.config.params.vectors
    assert info.config.params.sparse_vectors == local.config.params.sparse_vectors
    assert info.payload_schema["page"].points == sum(1 for number in range(COUNT) if number % 3)
    assert info.payload_schema["tenant"].data_type == "keyword"
    assert (await live.client.info()).version.split(".")[0] == "1"


async def test_the_sync_client_and_its_check_of_the_version(live: Live) -> None:
    def read() -> tuple[int, int]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client = QdrantClient(url=live.url, timeout=int(PATIENCE_S))
            points, _ = client.scroll(NAME, limit=5, with_vectors=True)
            counted = client.count(NAME).count
            client.close()
        return len(points), counted

    assert await asyncio.to_thread(read) == (5, COUNT)
    # The client asks for the version in a thread of its own, whose warnings nobody sees.
    answer = await asyncio.to_thread(httpx.get, live.url)
    assert answer.status_code == 200
    assert answer.json()["version"]


@pytest.mark.parametrize("number", range(len(FILTERS)))
async def test_counts_and_pages_under_a_filter(live: Live, number: int) -> None:
    wanted = FILTERS[number]
    ours, theirs = [await one.count(NAME, count_filter=wanted) for one in (live.client, live.local)]
    assert ours.count == theirs.count
    found: list[models.Record] = []
    offset: Any = None
    while True:
        page, offset = await live.client.scroll(
            NAME, scroll_filter=wanted, limit=7, offset=offset, with_vectors=True
        )
        assert len(page) == 7 or offset is None
        found.extend(page)
        if offset is None:
            break
    expected, _ = await live.local.scroll(NAME, scroll_filter=wanted, limit=COUNT, with_vectors=True)
    # The server home is asked through the same code; its client is this one with an address.
    request = models.ScrollRequest(limit=7, filter=wanted, with_payload=True)
    first = await shared.scroll(live.memory, "default", request)
    assert {one.id for one in first.points} <= {str(one.id) for one in expected}
    assert len(first.points) == min(7, theirs.count)
    assert {str(one.id): one.payload for one in found} == {str(one.id): one.payload for one in expected}
    assert [str(one.id) for one in found] == sorted(str(one.id) for one in found)
    vectors = {str(one.id): one.vector for one in expected}
    for one in found:
        left, right = one.vector, vectors[str(one.id)]
        assert isinstance(left, dict)
        assert isinstance(right, dict)
        assert set(left) == set(right)
        if "dense" in left:
            np.testing.assert_allclose(left["dense"], right["dense"], rtol=1e-5)
        if "sparse" in left:
            assert left["sparse"].indices == right["sparse"].indices
            np.testing.assert_allclose(left["sparse"].values, right["sparse"].values, rtol=1e-5)


async def test_points_by_id_and_parts_of_payloads(live: Live) -> None:
    ids = [point_id(2), point_id(1), "no-such-id", 5]
    rows = await live.client.retrieve(
        NAME, ids, with_payload=["doc_id", "metadata.year"], with_vectors=["sparse"]
    )
    assert [str(row.id) for row in rows] == [point_id(2), point_id(1)]
    assert rows[1].payload == {"doc_id": "doc-000", "metadata": {"year": 2001}}
    assert isinstance(rows[0].vector, dict)
    assert set(rows[0].vector) == {"sparse"}
    (row,) = await live.client.retrieve(
        NAME, [point_id(1)], with_payload=models.PayloadSelectorExclude(exclude=["text", "metadata.year"])
    )
    assert row.payload is not None
    assert row.vector is None
    assert "text" not in row.payload
    assert set(row.payload["metadata"]) == {"draft", "fiscal kind", "ratio"}
    one = await asyncio.to_thread(httpx.get, f"{live.url}/collections/{NAME}/points/{point_id(1)}")
    assert one.json()["result"]["payload"]["text"] == "sentence 1"


async def test_a_document_in_order(live: Live) -> None:
    wanted = FILTERS[1]
    for direction in (models.Direction.ASC, models.Direction.DESC):
        order = models.OrderBy(key="ordinal", direction=direction, start_from=1)
        ours, theirs = [
            (await one.scroll(NAME, scroll_filter=wanted, limit=3, order_by=order))[0]
            for one in (live.client, live.local)
        ]
        assert [one.payload for one in ours] == [one.payload for one in theirs]
        assert [one.order_value for one in ours] == [one.payload["ordinal"] for one in ours if one.payload]


async def test_facets(live: Live) -> None:
    for key in ("doc_id", "section", "page", "source"):
        ours, theirs = [
            await one.facet(NAME, key, facet_filter=FILTERS[2], limit=100)
            for one in (live.client, live.local)
        ]
        assert {one.value: one.count for one in ours.hits} == {one.value: one.count for one in theirs.hits}
    (only,) = (await live.client.facet(NAME, "tenant")).hits
    assert (only.value, only.count) == ("default", COUNT)


QUERIES: dict[str, dict[str, Any]] = {
    "dense": {"query": vectors(1)[0], "using": "dense", "limit": 9},
    "sparse": {"query": vectors(2)[1], "using": "sparse", "limit": 9},
    "page two": {"query": vectors(3)[0], "using": "dense", "limit": 5, "offset": 5},
    "threshold": {"query": vectors(4)[0], "using": "dense", "limit": 30, "score_threshold": 0.2},
    "like a point": {"query": point_id(5), "using": "dense", "limit": 6},
    "words of a point": {"query": point_id(5), "using": "sparse", "limit": 6},
    "rrf": {
        "prefetch": [
            models.Prefetch(query=vectors(5)[0], using="dense", limit=20),
            models.Prefetch(query=vectors(5)[1], using="sparse", limit=20),
        ],
        "query": models.FusionQuery(fusion=models.Fusion.RRF),
        "limit": 8,
    },
    "rrf, k and weights": {
        "prefetch": [
            models.Prefetch(query=vectors(6)[0], using="dense", limit=20),
            models.Prefetch(query=vectors(6)[1], using="sparse", limit=20),
        ],
        "query": models.RrfQuery(rrf=models.Rrf(k=60, weights=[1.0, 2.5])),
        "limit": 8,
    },
    "dbsf": {
        "prefetch": [
            models.Prefetch(query=vectors(7)[0], using="dense", limit=20),
            models.Prefetch(query=vectors(7)[1], using="sparse", limit=20, score_threshold=0.5),
        ],
        "query": models.FusionQuery(fusion=models.Fusion.DBSF),
        "limit": 8,
    },
    "scored again": {
        "prefetch": models.Prefetch(query=vectors(8)[1], using="sparse", limit=12),
        "query": vectors(8)[0],
        "using": "dense",
        "limit": 5,
    },
    "fusions fused": {
        "prefetch": [
            models.Prefetch(
                prefetch=[models.Prefetch(query=vectors(9)[0], using="dense", limit=15)],
                query=models.FusionQuery(fusion=models.Fusion.RRF),
                limit=10,
            ),
            models.Prefetch(query=vectors(9)[1], using="sparse", limit=15),
        ],
        "query": models.FusionQuery(fusion=models.Fusion.RRF),
        "limit": 8,
    },
}


@pytest.mark.parametrize("name", QUERIES)
async def test_queries_score_as_in_the_client_s_local_mode(live: Live, name: str) -> None:
    asked = QUERIES[name]
    ours, theirs = [await one.query_points(NAME, **asked) for one in (live.client, live.local)]
    assert ours.points
    same_scores(ours, theirs, name)
    assert all(one.payload is None or one.payload == {} or one.payload for one in ours.points)
    if "prefetch" not in asked:
        for number, wanted in enumerate(FILTERS):
            ours, theirs = [
                await one.query_points(NAME, **asked, query_filter=wanted)
                for one in (live.client, live.local)
            ]
            same_scores(ours, theirs, (name, number))


async def test_a_filter_around_prefetches_holds_in_each_of_them(live: Live) -> None:
    asked = QUERIES["rrf"]
    found = await live.client.query_points(NAME, **asked, query_filter=FILTERS[1], with_payload=True)
    assert found.points
    assert {one.payload["doc_id"] for one in found.points if one.payload} == {"doc-001"}


async def test_batches_payloads_vectors_and_no_query(live: Live) -> None:
    dense, sparse = vectors(10)
    answers = await live.client.query_batch_points(
        NAME,
        [
            models.QueryRequest(
                query=dense, using="dense", limit=3, with_payload=True, with_vector=["dense"]
            ),
            models.QueryRequest(query=sparse, using="sparse", limit=3),
            models.QueryRequest(limit=4, offset=2),
        ],
    )
    assert [len(one.points) for one in answers] == [3, 3, 4]
    first = answers[0].points[0]
    assert first.payload is not None
    assert first.payload["text"].startswith("sentence ")
    assert isinstance(first.vector, dict)
    assert len(first.vector["dense"]) == DIMENSIONS
    assert answers[1].points[0].payload in (None, {})
    page, _ = await live.client.scroll(NAME, limit=6)
    assert [one.id for one in answers[2].points] == [one.id for one in page[2:]]
