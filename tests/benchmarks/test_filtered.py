"""The benchmark of filtered searches on a corpus small enough to be scanned."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from benchmarks.filtered import SHARES, measure
from benchmarks.speed.sides import Corpus


def test_every_share_is_asked_and_a_scan_finds_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    corpus = Corpus(
        texts=[f"text {number}" for number in range(100)],
        sentences=[f"sentence {number}" for number in range(400)],
        documents=[number // 4 for number in range(400)],
        ordinals=[number % 4 for number in range(400)],
        vectors=vectors,
        queries=["one", "two"],
        query_vectors=rng.normal(size=(2, 8)).astype(np.float32),
    )
    rows = asyncio.run(measure(corpus, tmp_path))
    assert [asked for asked, _, _ in rows] == [
        f"{key} < {share}" for key, shares in SHARES.items() for share in shares
    ]
    matches = {asked: count for asked, count, _ in rows}
    assert 0 < matches["page < 5"] < matches["page < 90"] < 400
    assert matches["page < 50"] == matches["metadata.page < 50"]
    for asked, _, sides in rows:
        # So few points are scanned, so both sides are exact.
        queries = 2 if asked.startswith("page") else 1
        assert [side.recalls for side in sides] == [[1.0] * queries] * 3
        assert all(len(side.ms) == queries for side in sides)
