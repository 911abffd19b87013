"""The table of workers compares whole indexes; what it calls equal is equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.workers import difference, settings_for
from indexing.collection import StoredPoint
from indexing.errors import MismatchError
from indexing.records import Embedding, SparseVector

TERMS = SparseVector((1, 4), (0.5, 1.5))


def stored(dense: tuple[float, ...] | None = (0.6, 0.8)) -> StoredPoint:
    vector = None if dense is None else np.array(dense, dtype=np.float32)
    return StoredPoint("a", {"text": "x"}, Embedding(vector, TERMS))


def test_dense_vectors_are_measured() -> None:
    assert difference({"a": stored()}, {"a": stored()}) == 0.0
    assert difference({"a": stored()}, {"a": stored((0.6, 0.75))}) == pytest.approx(0.05)
    assert difference({"a": stored(None)}, {"a": stored(None)}) == 0.0


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"b": stored()},
        {"a": stored(None)},
        {"a": replace(stored(), payload={"text": "y"})},
        {"a": replace(stored(), embedding=Embedding(stored().embedding.dense, SparseVector((1,), (0.5,))))},
        {"a": replace(stored(), embedding=None)},
    ],
)
def test_anything_else_that_differs_ends_the_run(other: dict[str, StoredPoint]) -> None:
    with pytest.raises(MismatchError):
        difference({"a": stored()}, other)


def test_every_row_has_an_index_of_its_own(tmp_path: Path) -> None:
    names = {settings_for(tmp_path, count, None, 128).collection.name for count in (1, 2, 4)}
    assert names == {"winnow.workers1", "winnow.workers2", "winnow.workers4"}
