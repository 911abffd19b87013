from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.catalog.records import Window
from indexing.sentences import split_sentences
from retrieval.fusion import Fused
from retrieval.windows import merge_windows


@dataclass(frozen=True)
class FakeDocument:
    """A document that answers like the catalogue: exact slices around an ordinal."""

    doc_id: str
    text: str
    version: str = "v1"

    @property
    def spans(self) -> list[tuple[int, int]]:
        return split_sentences(self.text)

    def window(self, ordinal: int, size: int) -> Window:
        spans = self.spans
        first, last = max(0, ordinal - size), min(len(spans) - 1, ordinal + size)
        start, end = spans[first][0], spans[last][1]
        return Window(
            tenant="t",
            doc_id=self.doc_id,
            version=self.version,
            ordinal=ordinal,
            first=first,
            last=last,
            start=start,
            end=end,
            text=self.text[start:end],
            spans=tuple(spans[first : last + 1]),
            title=f"Title of {self.doc_id}",
            source=f"file:///{self.doc_id}",
            sources=(f"file:///{self.doc_id}",),
            section="",
            metadata={},
        )


def document(doc_id: str, count: int, gap: str = " ") -> FakeDocument:
    return FakeDocument(doc_id, gap.join(f"Sentence {n} of {doc_id}." for n in range(count)))


def hit(doc: FakeDocument, ordinal: int, score: float = 0.5) -> Fused:
    return Fused(f"{doc.doc_id}/{ordinal}", score, {}, (1, None), (score, None))


def merge(found, size=1, fetch=None, **options):
    """Merge the hits ``(document, ordinal)``, best first, over windows fetched one larger."""
    fetch = size + 1 if fetch is None else fetch
    hits = [hit(doc, ordinal, 1 / (place + 1)) for place, (doc, ordinal) in enumerate(found)]
    windows = [doc.window(ordinal, fetch) for doc, ordinal in found]
    return merge_windows(hits, windows, size=size, **options)


def bounds(passages):
    return [(passage.window.doc_id, passage.first, passage.last) for passage in passages]


A, B = document("a", 30), document("b", 30)


def test_a_lone_hit_gets_its_neighbours_on_both_sides():
    (passage,) = merge([(A, 10)], size=2)
    assert bounds([passage]) == [("a", 8, 12)]
    assert passage.text == " ".join(f"Sentence {n} of a." for n in range(8, 13))
    assert [one.span for one in passage.windows] == [A.spans[10]]
    assert passage.spans == tuple(A.spans[8:13])


def test_a_window_ends_where_the_document_ends():
    assert bounds(merge([(A, 0), (A, 29)], size=3)) == [("a", 0, 3), ("a", 26, 29)]


def test_overlapping_windows_become_one_led_by_the_best_hit():
    (passage,) = merge([(A, 10), (A, 8), (A, 12)], size=1)
    assert bounds([passage]) == [("a", 7, 13)]
    assert [one.id for one in passage.hits] == ["a/10", "a/8", "a/12"]
    assert passage.lead.id == "a/10"
    assert [one.span for one in passage.windows] == [A.spans[10], A.spans[8], A.spans[12]]
    assert passage.text == A.text[passage.start : passage.end]


@pytest.mark.parametrize("gap", [" ", "\n\n", "  \n\n  "])
def test_touching_windows_are_joined_with_the_white_space_between_them(gap):
    doc = document("a", 12, gap)
    (passage,) = merge([(doc, 2), (doc, 5)], size=1)
    assert bounds([passage]) == [("a", 1, 6)]
    assert passage.text == doc.text[passage.start : passage.end]


def test_touching_windows_stay_apart_when_the_text_between_them_was_not_fetched():
    assert bounds(merge([(A, 2), (A, 5)], size=1, fetch=1)) == [("a", 1, 3), ("a", 4, 6)]


def test_chinese_windows_touch_without_white_space_and_join_even_so():
    doc = FakeDocument("zh", "".join(f"这是第{n}句。" for n in range(9)))
    (passage,) = merge([(doc, 2), (doc, 5)], size=1, fetch=1)
    assert passage.text == doc.text[passage.start : passage.end]
    assert bounds([passage]) == [("zh", 1, 6)]


def test_size_zero_joins_adjacent_hits_only():
    assert bounds(merge([(A, 4), (A, 7), (A, 5)], size=0)) == [("a", 4, 5), ("a", 7, 7)]


def test_a_hit_between_two_passages_makes_them_one():
    assert bounds(merge([(A, 2), (B, 5), (A, 8), (A, 5)], size=1)) == [("a", 1, 9), ("b", 4, 6)]


def test_documents_and_versions_are_never_mixed():
    other = FakeDocument("a", A.text, version="v2")
    assert bounds(merge([(A, 4), (other, 5), (B, 4)])) == [("a", 3, 5), ("a", 4, 6), ("b", 3, 5)]


def test_a_hit_without_a_live_window_is_dropped():
    hits = [hit(A, 1), hit(B, 1)]
    assert bounds(merge_windows(hits, [None, B.window(1, 2)], size=1)) == [("b", 0, 2)]


def test_top_n_counts_passages_and_lower_hits_change_nothing():
    passages = merge([(A, 4), (A, 5), (B, 4), (A, 20), (A, 3), (B, 6)], size=1, top_n=2)
    assert bounds(passages) == [("a", 3, 6), ("b", 3, 5)]
    assert [[one.id for one in passage.hits] for passage in passages] == [["a/4", "a/5"], ["b/4"]]


def test_a_merge_makes_room_for_another_passage():
    passages = merge([(A, 3), (A, 9), (A, 6), (B, 4), (B, 20), (B, 28)], size=2, top_n=3)
    assert bounds(passages) == [("a", 1, 11), ("b", 2, 6), ("b", 18, 22)]


def test_a_passage_grows_no_further_than_it_may():
    passages = merge([(A, n) for n in (10, 12, 14, 11)], size=1, max_sentences=5)
    assert bounds(passages) == [("a", 9, 13), ("a", 14, 15)]
    assert [one.id for one in passages[0].hits] == ["a/10", "a/12", "a/11"]


def test_no_hits_no_passages():
    assert merge_windows([], [], size=2) == []


def test_a_defect_of_the_caller_is_told():
    with pytest.raises(ValueError, match="1 hits came with 0 windows"):
        merge_windows([hit(A, 1)], [], size=1)


SENTENCES = st.sampled_from(["One.", "Two is longer.", "三。", "四是长句。", "End!"])
GAPS = st.sampled_from([" ", "\n", "\n\n", "   ", "\n - "])


@st.composite
def searches(draw):
    documents = []
    for doc_id in "ab"[: draw(st.integers(1, 2))]:
        parts = draw(st.lists(st.tuples(SENTENCES, GAPS), min_size=1, max_size=14))
        documents.append(FakeDocument(doc_id, "".join(sentence + gap for sentence, gap in parts)))
    places = [(doc, n) for doc in documents for n in range(len(doc.spans))]
    return draw(st.lists(st.sampled_from(places), unique_by=lambda p: (p[0].doc_id, p[1]), max_size=10))


@settings(max_examples=200, deadline=None)
@given(
    found=searches(),
    size=st.integers(0, 4),
    extra=st.integers(0, 2),
    top_n=st.sampled_from([None, 1, 3]),
    cap=st.sampled_from([None, 1, 4, 9]),
)
def test_passages_over_random_documents(found, size, extra, top_n, cap):
    passages = merge(found, size, fetch=size + extra, top_n=top_n, max_sentences=cap)
    places = {f"{doc.doc_id}/{ordinal}": place for place, (doc, ordinal) in enumerate(found)}
    texts = {doc.doc_id: doc for doc, _ in found}
    shown = [
        (passage.window.doc_id, ordinal)
        for passage in passages
        for ordinal in range(passage.first, passage.last + 1)
    ]
    assert len(shown) == len(set(shown)), "a sentence shows twice"
    assert [places[p.lead.id] for p in passages] == sorted(places[p.lead.id] for p in passages)
    assert top_n is None or len(passages) <= top_n
    for passage in passages:
        doc = texts[passage.window.doc_id]
        assert passage.text == doc.text[passage.start : passage.end]
        assert passage.spans == tuple(doc.spans[passage.first : passage.last + 1])
        ordinals = [one.ordinal for one in passage.windows]
        assert [f"{doc.doc_id}/{ordinal}" for ordinal in ordinals] == [one.id for one in passage.hits]
        assert all(passage.first <= ordinal <= passage.last for ordinal in ordinals)
        assert [places[one.id] for one in passage.hits] == sorted(places[one.id] for one in passage.hits)
        longest = max(2 * size + 1, cap) if cap is not None else len(doc.spans)
        assert passage.last - passage.first + 1 <= longest
    if top_n is None:
        assert sorted(one.id for p in passages for one in p.hits) == sorted(places), "a hit was lost"
    if top_n is None and cap is None:
        for doc, ordinal in found:
            for near in range(max(0, ordinal - size), min(len(doc.spans), ordinal + size + 1)):
                assert (doc.doc_id, near) in shown, "a window is not whole"
        if extra:
            runs = sorted((p.window.doc_id, p.first, p.last) for p in passages)
            assert all(one[0] != two[0] or one[2] + 1 < two[1] for one, two in pairwise(runs))


@given(found=searches(), size=st.integers(0, 3))
def test_inputs_are_not_changed(found, size):
    hits = [hit(doc, ordinal) for doc, ordinal in found]
    windows = [doc.window(ordinal, size + 1) for doc, ordinal in found]
    before = copy.deepcopy((hits, windows))
    merge_windows(hits, windows, size=size, top_n=3, max_sentences=4)
    assert (hits, windows) == before
