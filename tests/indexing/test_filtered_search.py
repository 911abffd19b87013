"""A filter by a field without links of its own: a search must still find the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from indexing.collection import edge_config, edge_search
from indexing.collection.edge import Shard
from indexing.collection.edge_filters import carried_by_links
from indexing.collection.filters import Condition, Filter
from indexing.collection.layout import EngineParameters
from indexing.collection.protocol import CollectionSpec, GraphSearch
from indexing.records import Embedding, Point, SparseVector
from tests.fakes.points import point_id

POINTS = 6000
TOPICS = 60
DIMENSIONS = 32
NO_TERMS = SparseVector((), ())


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    """Six thousand points in sixty tight topics; one in ten has the title that is filtered by."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(TOPICS, DIMENSIONS))
    vectors = centres[rng.integers(TOPICS, size=POINTS)] + 0.2 * rng.normal(size=(POINTS, DIMENSIONS))
    with pytest.MonkeyPatch.context() as patch:
        # Below it a filter's matches are scanned, and six thousand points are below the default.
        for module in (edge_config, edge_search):
            patch.setattr(module, "FULL_SCAN_KB", 10)
        path = tmp_path_factory.mktemp("filtered") / "shard"
        made = Shard.create(path, CollectionSpec(DIMENSIONS, "", "", sparse_idf=True), EngineParameters())
        made.upsert(
            [
                Point(
                    point_id(number),
                    Embedding(vector.astype(np.float32), NO_TERMS),
                    {"tenant": "default", "doc_id": str(number), "title": f"title {number % 10}"},
                )
                for number, vector in enumerate(vectors)
            ]
        )
    assert made.optimize()
    return made


def recall(shard: Shard, graph: GraphSearch) -> float:
    """Mean share of the exact ten nearest with the title."""
    rng = np.random.default_rng(4)
    wanted = Filter((Condition("title", any_of=("title 3",)),))
    shares = []
    for _ in range(40):
        query = Embedding(rng.normal(size=DIMENSIONS).astype(np.float32), NO_TERMS)
        near, exact = (
            set(shard.search(query, "default", 10, "dense", wanted, whole, graph, False).dense.keys)
            for whole in (False, True)
        )
        assert len(exact) == 10
        shares.append(len(near & exact) / 10)
    return float(np.mean(shares))


def test_few_matches_are_scanned(shard: Shard) -> None:
    assert recall(shard, GraphSearch(80, 0.7)) == 1.0


def test_many_matches_are_found_by_acorn(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_search, "FILTERED_SCAN_KB", 10)
    assert recall(shard, GraphSearch(80, 0.7)) > 0.95


def test_the_graph_alone_would_lose_them(shard: Shard) -> None:
    assert recall(shard, GraphSearch(80, 0.0)) < 0.8


@pytest.mark.parametrize(
    ("conditions", "carried"),
    [
        ((), True),
        ((Condition("source", prefix="reports/"),), True),
        (
            (
                Condition("source", any_of=("a.md",)),
                Condition("section", prefix="Costs"),
            ),
            True,
        ),
        ((Condition("source", any_of=("a.md", "b.md")),), False),
        ((Condition("source", none_of=("a.md",)),), False),
        ((Condition("title", any_of=("Report",)),), False),
        ((Condition("source", prefix="reports/"), Condition("page", bounds=(("lt", 9.0),))), False),
    ],
)
def test_links_carry_one_value_of_a_linked_field(conditions: tuple[Condition, ...], carried: bool) -> None:
    assert carried_by_links(Filter(conditions)) is carried


def test_links_do_not_carry_a_filter_in_the_engines_own_words() -> None:
    assert carried_by_links(None)
    assert not carried_by_links(Filter((), native='{"must": []}'))
