"""A shard that holds one tenant is searched without a filter by tenant, and nobody else sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexing.collection.edge import Shard
from indexing.collection.layout import EngineParameters
from indexing.collection.protocol import GraphSearch
from indexing.records import Embedding
from tests.fakes.points import SPEC, embedding, point

RNG = np.random.default_rng(5)


def found(shard: Shard, query: Embedding, tenant: str) -> set[str]:
    sides = shard.search(query, tenant, 50, "hybrid", None, False, GraphSearch(128, 0.7), True)
    return {str(payload["tenant"]) for side in sides[:2] for payload in side.payloads or ()}


def shard_of(path: Path, tenants: Sequence[str]) -> Shard:
    shard = Shard.create(path, SPEC, EngineParameters())
    for number, tenant in enumerate(tenants):
        shard.upsert([point(number, RNG, tenant=tenant)])
    return shard


@pytest.mark.parametrize("stranger", ["b", "", "A", "a "])
def test_a_stranger_finds_nothing_in_a_shard_of_one_tenant(tmp_path: Path, stranger: str) -> None:
    shard = shard_of(tmp_path / "s", ["a"] * 20)
    query = embedding(RNG)
    assert found(shard, query, "a") == {"a"}
    assert found(shard, query, stranger) == set()
    shard.close()


def test_the_second_tenant_ends_it_and_so_does_opening_again(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "s", ["a"] * 20)
    query = embedding(RNG)
    assert found(shard, query, "a") == {"a"}
    shard.upsert([point(100, RNG, tenant="b")])
    assert found(shard, query, "a") == {"a"}
    assert found(shard, query, "b") == {"b"}
    shard.close()
    again = Shard.load(tmp_path / "s", SPEC, EngineParameters())
    assert [found(again, query, tenant) for tenant in ("a", "b", "c")] == [{"a"}, {"b"}, set()]
    again.close()


def test_what_was_written_and_never_closed_counts(tmp_path: Path) -> None:
    shard_of(tmp_path / "s", ["a"] * 20 + ["b"]).abandon()
    again = Shard.load(tmp_path / "s", SPEC, EngineParameters())
    query = embedding(RNG)
    assert found(again, query, "a") == {"a"}
    assert found(again, query, "b") == {"b"}
    again.close()
