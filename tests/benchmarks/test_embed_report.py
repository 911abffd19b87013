"""The before/after report of an encoder, on vectors made by hand."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.embed import MEASURES, as_json, compare_encoders, markdown
from distill.embedding.sets import RetrievalSet


class Points:
    """Passage i is the i-th axis; a query is the passage it names, moved ``off`` places."""

    def __init__(self, count: int, off: int) -> None:
        self._count, self._off = count, off

    def encode_documents(self, texts: object) -> np.ndarray:
        return np.eye(self._count, dtype=np.float32)[[int(text) for text in texts]]

    def encode_queries(self, texts: object) -> np.ndarray:
        return np.eye(self._count, dtype=np.float32)[
            [(int(text) + self._off) % self._count for text in texts]
        ]


def judged(count: int, name: str) -> RetrievalSet:
    texts = {f"{at:02}": str(at) for at in range(count)}
    return RetrievalSet(name, texts, texts, {one: {one: 1} for one in texts})


def test_an_encoder_that_is_right_beats_one_that_is_wrong_and_equals_itself() -> None:
    sets = [("in domain", judged(20, "near")), ("out of domain", judged(12, "far"))]
    wrong, right = Points(20, 3), Points(20, 0)
    found = compare_encoders(wrong, right, sets, (16,), seed=1)
    assert [(one.name, one.dimensions) for one in found] == [
        ("near", 0),
        ("near", 16),
        ("far", 0),
        ("far", 16),
    ]
    for one in found[::2]:
        for row in one.changes:
            assert row.after == 1.0 > row.before
            assert row.wins + row.ties + row.losses == one.queries
            assert row.p <= row.p_holm < 0.01
    same = compare_encoders(right, right, sets, (), seed=1)
    assert all(row.difference == 0 and row.p_holm == 1 for one in same for row in one.changes)
    text = markdown(found)
    assert text.index("## in domain") < text.index("## out of domain")
    assert "near (20 queries, 20 passages, first 16 dimensions)" in text
    fields = json.loads(json.dumps(as_json(found, ("a", "some/b"), 1)))
    assert fields["after"] == "b"
    assert [row["name"] for row in fields["sets"][0]["rows"]] == ["before", "after"]
    assert set(fields["sets"][0]["changes"]) == set(MEASURES)
    worse = markdown(compare_encoders(right, wrong, sets[:1], (), seed=1))
    assert "near, NDCG@10, lost most: 09 (-1.000), 10 (-1.000)" in worse
