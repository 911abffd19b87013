"""Packed hits are the hits they stand for, and fuse and are judged as those do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.hits import PackedHits
from indexing.identity import id_of_key, key_of_id, point_id, prefix_of, prefix_of_key
from indexing.records import NO_PAYLOAD, Hit
from retrieval.confidence import confidence, confidence_weights
from retrieval.fusion import Ranking, fuse

IDS = [point_id("default", f"d{number // 3}", "v", number % 3) for number in range(12)]


def packed(hits: list[Hit]) -> PackedHits:
    payloads = [hit.payload for hit in hits] if any(hit.payload for hit in hits) else None
    return PackedHits([key_of_id(hit.id) for hit in hits], [hit.score for hit in hits], payloads)


@st.composite
def rankings(draw: st.DrawFn, *, unique: bool = True) -> list[Hit]:
    """A ranking with few distinct scores, so that ties happen; with payloads or without."""
    ids = draw(st.lists(st.sampled_from(IDS), unique=unique, max_size=12))
    scores = sorted(draw(st.lists(st.integers(-4, 12), min_size=len(ids), max_size=len(ids))), reverse=True)
    paid = draw(st.booleans())
    return [
        Hit(identity, score / 4, rank, {"text": identity} if paid and rank != 2 else NO_PAYLOAD)
        for rank, (identity, score) in enumerate(zip(ids, scores, strict=True), 1)
    ]


@given(st.uuids())
def test_an_id_comes_back_as_it_was(identity) -> None:
    text = str(identity)
    assert id_of_key(key_of_id(text)) == text


@given(st.lists(st.uuids(), max_size=6))
def test_packed_ids_sort_as_their_texts_do(identities) -> None:
    texts = [str(one) for one in identities]
    assert [id_of_key(key) for key in sorted(map(key_of_id, texts))] == sorted(texts)


def test_the_sentences_of_one_document_begin_alike() -> None:
    keys = [key_of_id(identity) for identity in IDS]
    assert [prefix_of_key(key) for key in keys] == PackedHits(keys, [0.0] * len(keys)).documents()
    for one, other in pairwise(IDS):
        same = prefix_of_key(key_of_id(one)) == prefix_of_key(key_of_id(other))
        assert same == (prefix_of(one) == prefix_of(other))


@given(hits=rankings(), place=st.integers(-12, 11), start=st.integers(-14, 14), stop=st.integers(-14, 14))
def test_they_are_the_sequence_of_their_hits(hits: list[Hit], place: int, start: int, stop: int) -> None:
    sequence = packed(hits)
    assert (list(sequence), len(sequence), bool(sequence)) == (hits, len(hits), bool(hits))
    assert sequence[start:stop] == hits[start:stop]
    if -len(hits) <= place < len(hits):
        assert sequence[place] == hits[place]
    else:
        with pytest.raises(IndexError):
            sequence[place]


@pytest.mark.parametrize("method", ["rrf", "dbsf", "weighted"])
@given(
    sides=st.lists(rankings(unique=False), min_size=1, max_size=4),
    credited=st.dictionaries(st.sampled_from(IDS), st.sampled_from([0.25, 1.0]), max_size=3),
    data=st.data(),
)
def test_fusion_does_not_see_the_difference(method, sides, credited, data) -> None:
    weights = data.draw(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=len(sides), max_size=len(sides)))
    loose = data.draw(st.sets(st.sampled_from(range(len(sides)))))
    mixed: list[Ranking] = [side if n in loose else packed(side) for n, side in enumerate(sides)]
    expected = list(fuse(method, sides, weights, credits=credited))
    assert list(fuse(method, mixed, weights, credits=credited)) == expected
    assert list(fuse(method, [packed(side) for side in sides], weights, credits=credited)) == expected


@given(rankings(), rankings())
def test_confidence_does_not_see_the_difference(dense: list[Hit], sparse: list[Hit]) -> None:
    assert confidence(packed(dense)) == confidence(dense)
    both = confidence_weights([packed(dense), packed(sparse)], [1.0, 1.0], 2.0)
    assert both == confidence_weights([dense, sparse], [1.0, 1.0], 2.0)
    named = confidence(packed(dense), document_of=str)
    assert named == confidence(dense, document_of=str)
