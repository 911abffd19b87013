"""Hits to passages: windows of one document that meet become one, no sentence shows twice.

The window around a hit is its sentence and ``size`` neighbours on each side.
Fetch ``size + 1`` from the catalogue: two windows that merely touch are joined
only when the white space between them is known, and the extra sentence holds
it.  Every text is an exact slice of the document's extracted text.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from retrieval.fusion import Fused

if TYPE_CHECKING:  # the catalogue brings SQLAlchemy; merging needs only the shape of a row
    from indexing.catalog.records import Window

Span = tuple[int, int]


class Passage(NamedTuple):
    """Sentences ``first`` to ``last`` of one document around one hit or several.

    ``hits`` are best first; the leading one gives the passage its rank.
    ``windows`` has what the catalogue says of each, and of their document.
    ``text`` is the document's text from ``start`` to ``end``, ``spans`` the
    offsets of its sentences, ascending and in document offsets.
    """

    hits: tuple[Fused, ...]
    windows: tuple[Window, ...]
    first: int
    last: int
    start: int
    end: int
    text: str
    spans: tuple[Span, ...]

    @property
    def lead(self) -> Fused:
        """The best hit of the passage."""
        return self.hits[0]

    @property
    def window(self) -> Window:
        """What the catalogue says of the best hit."""
        return self.windows[0]


class _Group(NamedTuple):
    """A passage in the making: its hits' places in the ranking, its sentences, the known text."""

    places: tuple[int, ...]
    first: int
    last: int
    known: Window


_places = attrgetter("places")


def merge_windows(
    hits: Sequence[Fused],
    windows: Sequence[Window | None],
    *,
    size: int,
    top_n: int | None = None,
    max_sentences: int | None = None,
) -> list[Passage]:
    """Return passages, the one with the best hit first.

    Args:
        hits: in ranking order.
        windows: the catalogue's answer for each hit, at least ``size``
            sentences on each side where the document has them, better
            ``size + 1`` (see the module); None drops the hit: its version of
            the document is no longer live.
        size: neighbours shown on each side of a hit.
        top_n: passages returned.  Once there are as many, lower hits change
            nothing: they neither lengthen a passage nor get highlighted, or a
            small document would end up highlighted from end to end.
        max_sentences: no merged passage is longer; a window that would make it
            so is cut back to the sentences that do not show yet.

    Raises:
        ValueError: not one window a hit, which is a defect of the caller, not of the input.
    """
    if len(hits) != len(windows):
        raise ValueError(f"{len(hits)} hits came with {len(windows)} windows")
    documents: dict[tuple[str, str, str], list[_Group]] = {}
    standing = 0
    for place, window in enumerate(windows):
        if window is None:
            continue
        if top_n is not None and standing >= top_n:
            break
        groups = documents.setdefault((window.tenant, window.doc_id, window.version), [])
        standing -= len(groups)
        _place(groups, _single(place, window, size), max_sentences)
        standing += len(groups)
    ordered = sorted([group for groups in documents.values() for group in groups], key=_places)
    return [_passage(group, hits, windows) for group in ordered]


def _single(place: int, window: Window, size: int) -> _Group:
    ordinal = window.ordinal
    first, last = max(window.first, ordinal - size), min(window.last, ordinal + size)
    return _Group((place,), first, last, window)


def _place(groups: list[_Group], new: _Group, max_sentences: int | None) -> None:
    """Add one hit to the groups of its document, which stay disjoint."""
    if not groups:
        groups.append(new)
        return
    ordinal = new.known.ordinal

    def distance(group: _Group) -> int:
        return max(group.first - ordinal, ordinal - group.last, 0)

    near = [group for group in groups if group.first <= new.last + 1 and new.first <= group.last + 1]
    near.sort(key=distance)
    for group in near:
        merged = _union(group, new, max_sentences)
        if merged is not None:
            groups.remove(group)
            new = merged
        elif group.first <= ordinal <= group.last:
            groups[groups.index(group)] = _with_hits(group, new)
            return
        elif group.last < ordinal:
            new = new._replace(first=max(new.first, group.last + 1))
        else:
            new = new._replace(last=min(new.last, group.first - 1))
    groups.append(new)


def _with_hits(group: _Group, new: _Group) -> _Group:
    return group._replace(places=tuple(sorted(group.places + new.places)))


def _union(group: _Group, new: _Group, max_sentences: int | None) -> _Group | None:
    """Both as one, or None when that is too long or the text between them is not known."""
    first, last = min(group.first, new.first), max(group.last, new.last)
    if max_sentences is not None and last - first >= max_sentences:
        return None
    left, right = sorted((group.known, new.known), key=lambda window: window.start)
    if right.start > left.end:
        return None
    known = left
    if right.end > left.end:
        known = left._replace(
            last=right.last,
            end=right.end,
            text=left.text + right.text[left.end - right.start :],
            spans=left.spans + right.spans[left.last + 1 - right.first :],
            pages=left.pages + right.pages[left.last + 1 - right.first :],
        )
    return _with_hits(group, new)._replace(first=first, last=last, known=known)


def _passage(group: _Group, hits: Sequence[Fused], windows: Sequence[Window | None]) -> Passage:
    places, first, last, known = group
    spans = known.spans[first - known.first : last - known.first + 1]
    start, end = spans[0][0], spans[-1][1]
    return Passage(
        tuple([hits[place] for place in places]),
        tuple([window for place in places if (window := windows[place]) is not None]),
        first,
        last,
        start,
        end,
        known.text[start - known.start : end - known.start],
        spans,
    )
