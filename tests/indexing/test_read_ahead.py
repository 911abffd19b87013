"""What a shard's opening reads ahead: what searches read, holes and token vectors left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from indexing.collection import read_ahead as module
from indexing.collection.edge import Shard
from indexing.collection.layout import EngineParameters
from indexing.collection.protocol import CollectionSpec
from indexing.collection.read_ahead import read_ahead, read_quantized, start_read_ahead
from tests.fakes.points import SPEC, point

MB = 2**20


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    segment = tmp_path / "segments" / "one"
    write(segment / "vector_storage-dense" / "vectors" / "chunk_0.mmap", 3 * MB + 5)
    write(segment / "vector_index-dense" / "graph.bin", 1000)
    write(segment / "payload_storage" / "page_0.dat", 2000)
    write(segment / "vector_storage-dense" / "quantized.data", 4 * MB + 3)
    write(segment / "vector_storage-tokens" / "chunk_0.mmap", 5 * MB)
    write(segment / "vector_storage-sparse" / "page_0.dat", 5 * MB)
    write(tmp_path / "wal" / "open-1", 5 * MB)
    write(tmp_path / "segments" / "stray", 5 * MB)
    return tmp_path


def test_what_a_search_reads_is_read_and_nothing_else(shard: Path) -> None:
    assert read_ahead(shard) == 3 * MB + 5 + 1000 + 2000


def test_no_more_than_the_budget_is_read_the_graph_first(shard: Path) -> None:
    assert read_ahead(shard, budget=1000) == 1000
    assert MB <= read_ahead(shard, budget=MB) <= 2 * MB


def test_holes_are_not_read(shard: Path) -> None:
    path = shard / "segments" / "one" / "payload_storage" / "page_1.dat"
    with path.open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(1024 * MB)
    if os.stat(path).st_blocks * 512 > MB:
        pytest.skip("the file system has no holes")
    assert read_ahead(shard) - (3 * MB + 5 + 1000 + 2000) <= MB


def test_what_cannot_be_read_is_passed_over(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild may remove the shard meanwhile."""
    listed = list(module._files(shard))
    (shard / "segments" / "one" / "vector_index-dense" / "graph.bin").unlink()
    monkeypatch.setattr(module, "_files", lambda _: iter(listed))
    assert read_ahead(shard) == 3 * MB + 5 + 2000


def test_a_shard_that_is_gone_has_nothing_to_read(shard: Path) -> None:
    assert read_ahead(shard / "nowhere") == 0


def test_quantized_vectors_are_read_before_the_engine_loads_them(shard: Path) -> None:
    assert read_quantized(shard) == 4 * MB + 3
    assert read_quantized(shard, MB) == MB
    assert read_quantized(shard / "nowhere") == 0


def test_a_real_shard_has_quantized_vectors_of_this_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    parameters = EngineParameters(quantization="scalar")
    shard = Shard.create(tmp_path / "shard", SPEC, parameters)
    shard.upsert([point(number, rng) for number in range(200)])
    shard.optimize()
    shard.close()
    assert read_quantized(tmp_path / "shard") >= 200 * SPEC.dimensions
    Shard.load(tmp_path / "shard", SPEC, parameters).close()


def test_a_real_shard_has_parts_of_these_names(tmp_path: Path) -> None:
    """The engine names its folders: another version with other names must be noticed here."""
    spec = CollectionSpec(4, "d", "s", True)
    Shard.create(tmp_path / "shard", spec, EngineParameters()).close()
    found = {
        path.relative_to(tmp_path / "shard" / "segments").parts[1]
        for path in module._files(tmp_path / "shard")
    }
    # The graph and the postings come with the first build.
    assert found >= {"vector_storage-dense", "payload_storage", "payload_index"}
    start_read_ahead(tmp_path / "shard").join(30)
