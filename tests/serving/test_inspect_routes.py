"""What /v1/inspect shows: real points, their words back from BM25's hashes, neighbours, a map."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from indexing.collection import CollectionSpec, open_collection
from indexing.encoders.bm25 import Bm25Encoder
from indexing.identity import point_id
from indexing.records import DEFAULT_TENANT, Embedding, Point
from serving.inspection.lexicon import Lexicon
from serving.inspection.plane import project
from tests.fakes.points import settings_in
from tests.fakes.service import DOCUMENTS, client_of, make_harness

pytestmark = pytest.mark.anyio
DIMENSIONS = 16
SPEC = CollectionSpec(DIMENSIONS, "dense-a", "sparse-a", sparse_idf=True)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["embedded", "memory"])
async def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[httpx.AsyncClient]:
    """The documents of the fake catalogue as points, BM25 on the sparse side.

    The memory home has the code of the server home, which takes its calls elsewhere.
    """
    home = tmp_path_factory.mktemp("inspect")
    harness = await make_harness(home)
    settings = settings_in(home, home=request.param)
    collection = await open_collection(settings, SPEC)
    for tenant in (DEFAULT_TENANT, "other"):
        await collection.upsert(_points(harness.catalog, tenant))
    harness.service.collection = collection
    # An encoder that has met no word yet, as after a restart.
    harness.service.lexicon = Lexicon(Bm25Encoder(average_length=8.0))
    async with client_of(harness) as made:
        yield made
    await collection.close()
    await harness.close()


def _points(catalog: object, tenant: str) -> list[Point]:
    rng = np.random.default_rng(7)
    encoder = Bm25Encoder(average_length=8.0)
    points = []
    for doc_id in DOCUMENTS:
        record = catalog.document(tenant, doc_id)  # type: ignore[attr-defined]
        for sentence in catalog.sentences(tenant, doc_id):  # type: ignore[attr-defined]
            (sparse,) = encoder.encode_documents([sentence.text])
            dense = None if doc_id.startswith("目录") else rng.normal(size=DIMENSIONS).astype(np.float32)
            payload = {
                "tenant": tenant,
                "doc_id": doc_id,
                "version": record.version,
                "ordinal": sentence.ordinal,
                "start": sentence.start,
                "end": sentence.end,
                "text": f"{sentence.text}" if tenant == DEFAULT_TENANT else "a secret",
                "source": f"file:{doc_id}",
                "section": sentence.section,
                "title": record.title,
            }
            key = point_id(tenant, doc_id, record.version, sentence.ordinal)
            points.append(Point(key, Embedding(dense, sparse), payload))
    return points


async def test_points_page_by_page_and_by_document(client: httpx.AsyncClient) -> None:
    found: list[dict[str, object]] = []
    after: str | None = None
    while True:
        params = {"limit": "3"} | ({"after": after} if after else {})
        page = (await client.get("/v1/inspect/points", params=params)).json()
        found.extend(page["points"])
        after = page["next"]
        if after is None:
            break
        assert len(page["points"]) == 3
    assert len(found) == page["total"] == len({one["id"] for one in found}) == 8
    assert not any("secret" in str(one["text"]) for one in found)
    page = (await client.get("/v1/inspect/points", params={"doc_id": "files", "limit": 1})).json()
    assert [one["text"] for one in page["points"]] == ["Open a file with open."]
    assert (page["next"], page["total"]) == ("1", 2)
    page = (await client.get("/v1/inspect/points", params={"doc_id": "files", "after": "1"})).json()
    assert [one["ordinal"] for one in page["points"]] == [1]
    assert page["next"] is None
    part = (await client.get("/v1/inspect/points", params={"section": "a/b"})).json()
    assert {one["doc_id"] for one in part["points"]} == {"a/b c?.txt"}
    assert part["total"] == 2


async def test_a_point_with_its_words_and_neighbours(client: httpx.AsyncClient) -> None:
    page = (await client.get("/v1/inspect/points", params={"doc_id": "files"})).json()
    first, second = page["points"]
    one = (await client.get(f"/v1/inspect/points/{first['id']}")).json()
    assert one["payload"]["text"] == "Open a file with open."
    words = [term["word"] for term in one["terms"]]
    assert words == ["open", "file"]  # "open" twice weighs more; "a" and "with" are stop words
    assert one["terms"][0]["weight"] > one["terms"][1]["weight"] > 0
    assert (one["before"], [row["id"] for row in one["after"]]) == ([], [second["id"]])
    assert one["dense_dimensions"] == DIMENSIONS
    assert len(one["dense_begins"]) == 8
    chinese = (await client.get("/v1/inspect/points", params={"doc_id": "目录/文件 1.txt"})).json()["points"]
    one = (await client.get(f"/v1/inspect/points/{chinese[1]['id']}")).json()
    assert one["dense_dimensions"] is None
    assert {"关闭", "文件", "close"} <= {term["word"] for term in one["terms"]}
    assert [row["ordinal"] for row in one["before"]] == [0]


async def test_a_map_of_a_sample(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/inspect/map", params={"sample": 100})).json()
    assert len(body["points"]) == 6  # the Chinese sentences have no dense vector
    assert body["total"] == 8
    assert 0 < body["explained"] <= 1
    assert all(-1 <= point[axis] <= 1 for point in body["points"] for axis in "xy")
    assert len(body["documents"]) == len({point["document"] for point in body["points"]}) == 4
    again = (await client.get("/v1/inspect/map", params={"sample": 100})).json()
    assert again == body
    narrow = (await client.get("/v1/inspect/map", params={"doc_id": "files"})).json()
    assert [one["doc_id"] for one in narrow["documents"]] == ["files"]


async def test_what_is_refused(client: httpx.AsyncClient) -> None:
    foreign = point_id("other", "files", "x", 0)
    for path, params, status in (
        ("/v1/inspect/points/none", {}, 404),
        (f"/v1/inspect/points/{foreign}", {}, 404),
        ("/v1/inspect/points", {"doc_id": "unknown"}, 404),
        ("/v1/inspect/points", {"after": "x"}, 422),
        ("/v1/inspect/points", {"after": "x", "doc_id": "files"}, 422),
        ("/v1/inspect/points", {"limit": 501}, 422),
        ("/v1/inspect/map", {"sample": 2001}, 422),
    ):
        answer = await client.get(path, params=params)
        assert answer.status_code == status, (path, params, answer.text)


def test_a_plane_keeps_the_two_largest_directions() -> None:
    rng = np.random.default_rng(3)
    hidden = rng.normal(size=(200, 2)) * [5.0, 2.0]
    axes = np.linalg.qr(rng.normal(size=(32, 2)))[0].T
    vectors = (hidden @ axes + rng.normal(size=(200, 32)) * 0.01).astype(np.float32)
    flat, shown = project(vectors)
    assert shown > 0.99
    centred = hidden - hidden.mean(axis=0)
    wanted = np.linalg.norm(centred[:, None] - centred[None], axis=-1)
    found = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    np.testing.assert_allclose(found / found.max(), wanted / wanted.max(), atol=0.02)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_plane_of_too_few_points(rows: int) -> None:
    flat, shown = project(np.ones((rows, 4), dtype=np.float32))
    assert (flat.tolist(), shown) == ([[0.0, 0.0]] * rows, 0.0)
