"""Which hits' windows are read: as many as the passages that are missing, told by the hits' ids."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from indexing.catalog.records import Window
from indexing.identity import point_id, split_point_id
from retrieval.fusion import Fused
from retrieval.passages import Assembly

SIZE, WANTED, SENTENCES = 2, 5, 40

places = st.lists(st.tuples(st.integers(0, 6), st.integers(0, SENTENCES - 1)), unique=True, max_size=40)


def hit(document: int, ordinal: int) -> Fused:
    return Fused(point_id("t", f"d{document}", "v", ordinal), 1.0, {}, (1, None), (1.0, None))


def window(document: int, ordinal: int, size: int) -> Window:
    """A document of sentences of one character each."""
    first, last = max(ordinal - size, 0), min(ordinal + size, SENTENCES - 1)
    spans = tuple((2 * place, 2 * place + 1) for place in range(first, last + 1))
    return Window(
        tenant="t",
        doc_id=f"d{document}",
        version="v",
        ordinal=ordinal,
        first=first,
        last=last,
        start=spans[0][0],
        end=spans[-1][1],
        text="x " * (last - first) + "x",
        spans=spans,
        title="",
        source="s",
        sources=("s",),
        section="",
        metadata={},
    )


def assembled(found: Sequence[tuple[int, int]]) -> tuple[Assembly, list[int]]:
    """Walk down the hits as a search does; also the size of each batch."""
    assembly, fused, position = Assembly(SIZE, WANTED), [hit(*place) for place in found], 0
    sizes: list[int] = []
    while position < len(fused) and assembly.missing:
        batch = assembly.batch(fused, position)
        windows = [window(*found[position + place], assembly.fetch_size) for place in range(len(batch))]
        assembly.add(batch, windows)
        position += len(batch)
        sizes.append(len(batch))
    return assembly, sizes


def test_hits_far_apart_are_read_one_a_passage() -> None:
    _, sizes = assembled([(document, 0) for document in range(20)])
    assert sizes == [WANTED]


def test_hits_that_share_a_passage_are_read_with_it() -> None:
    found = [(0, 10), (0, 12), (1, 0), (0, 15), (0, 30), (2, 7), (3, 7), (4, 7)]
    assembly, sizes = assembled(found)
    assert sizes == [7]
    assert len(assembly.standing()) == WANTED


def test_a_document_that_is_not_live_makes_room_for_the_next_hit() -> None:
    assembly, fused = Assembly(SIZE, 2), [hit(document, 0) for document in range(4)]
    first = assembly.batch(fused, 0)
    assembly.add(first, [None, window(1, 0, assembly.fetch_size)])
    assert [split_point_id(one.id) for one in assembly.batch(fused, 2)] == [split_point_id(fused[2].id)]


@given(places)
def test_as_many_passages_stand_as_the_hits_can_make(found: list[tuple[int, int]]) -> None:
    assembly, sizes = assembled(found)
    everything = Assembly(SIZE, WANTED)
    everything.add(
        [hit(*place) for place in found], [window(*place, everything.fetch_size) for place in found]
    )
    stand = [one.passage.lead.id for one in assembly.standing()]
    assert stand == [one.passage.lead.id for one in everything.standing()]
    assert all(sizes), "a batch is never empty, so the walk ends"
