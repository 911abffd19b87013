"""A document's text to sentences with exact offsets, sections and pages."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

from indexing.blocks import Span, atomic_spans, hard_breaks, heading_span
from indexing.boundaries import sentence_ends
from indexing.records import Extraction, Heading, Sentence

Unit = Literal["sentence", "document"]

SECTION_SEPARATOR = " > "
_MAX_HEADING_CHARS = 160

_LETTER_OR_DIGIT = re.compile(r"[^\W_]")

# Where a sentence that is too long may be cut, best first: line, clause, space.
_CUTS = (
    re.compile(r"\n"),
    re.compile(r"[;；](?=\s)|；"),
    re.compile(r"[,:](?=\s)|[，、：—]"),
    re.compile(r"\s"),
)


def split_sentences(
    text: str,
    *,
    units: Sequence[Span] = (),
    headings: Sequence[Heading] = (),
    pages: Sequence[int] = (),
    max_chars: int = 2000,
) -> list[Span]:
    """Return the spans of a text's sentences, English or Chinese or both.

    Spans are ascending, disjoint and stripped; together they hold every
    character that is no white space.  A paragraph break, a heading, a list
    item, a table row and a unit always end a sentence, a single line break
    does not.  A span longer than ``max_chars`` is cut at a clause boundary.
    A piece without letters or digits ("***") joins its neighbour.

    Args:
        text: the document's extracted text.
        units: spans that stay whole (table rows, code, formulas).
        headings: their lines are sentences of their own.
        pages: offsets at which pages begin; a page ends a sentence unless
            the words clearly go on.
        max_chars: longest span, at least 1.

    >>> text = "Dr. Smith paid $3.14. 他说：“好。”然后走了。"
    >>> [text[start:end] for start, end in split_sentences(text)]
    ['Dr. Smith paid $3.14.', '他说：“好。”', '然后走了。']
    """
    blocks, inside = atomic_spans(text, units)
    atomic = sorted(blocks + inside)
    hard = sorted(hard_breaks(text, blocks, headings, pages))
    edges = [0, *_outside(hard, atomic), len(text)]
    spans: list[Span] = []
    for start, end in pairwise(edges):
        soft = _outside(sentence_ends(text, start, end), atomic)
        for left, right in zip([start, *soft], [*soft, end], strict=True):
            piece = _strip(text, left, right)
            if piece is not None:
                spans.extend(_cut(text, piece, max_chars, atomic))
    return _join_wordless(text, spans, max_chars)


def _outside(breaks: Iterable[int], atomic: Sequence[Span]) -> list[int]:
    """The breaks that fall strictly inside no atomic span."""
    return [
        place
        for place in breaks
        if not atomic or (index := bisect_left(atomic, (place, 0)) - 1) < 0 or place >= atomic[index][1]
    ]


def _strip(text: str, start: int, end: int) -> Span | None:
    piece = text[start:end]
    body = piece.lstrip()
    if not body:
        return None
    start = end - len(body)
    return start, start + len(body.rstrip())


def _cut(text: str, piece: Span, max_chars: int, atomic: Sequence[Span]) -> Iterator[Span]:
    start, end = piece
    while end - start > max_chars:
        place = _cut_place(text, start, start + max_chars, atomic)
        left = _strip(text, start, place)
        right = _strip(text, place, end)
        if left is not None:
            yield left
        if right is None:
            return
        start, end = right
    yield start, end


def _cut_place(text: str, start: int, limit: int, atomic: Sequence[Span]) -> int:
    """The best offset in ``(start, limit]`` to cut at: not in the first half unless it must."""
    middle = start + (limit - start) // 2
    for pattern in _CUTS:
        places = [match.end() for match in pattern.finditer(text, middle, limit)]
        if places:
            limit = places[-1]
            break
    index = bisect_right(atomic, (limit - 1, len(text) + 1)) - 1
    if index >= 0 and start < atomic[index][0] < limit < atomic[index][1]:
        return atomic[index][0]
    return limit


def _join_wordless(text: str, spans: list[Span], max_chars: int) -> list[Span]:
    """Attach a span without letters or digits to the one before it, else to the one after."""
    joined: list[Span] = []
    waiting: Span | None = None
    for start, end in spans:
        wordless = _LETTER_OR_DIGIT.search(text, start, end) is None
        if wordless and waiting is None and joined and end - joined[-1][0] <= max_chars:
            joined[-1] = (joined[-1][0], end)
            continue
        if waiting is not None and end - waiting[0] <= max_chars:
            start = waiting[0]
        elif waiting is not None:
            joined.append(waiting)
        waiting = (start, end) if wordless else None
        if not wordless:
            joined.append((start, end))
    if waiting is not None:
        joined.append(waiting)
    return joined


def sentences_of(extraction: Extraction, *, max_chars: int = 2000, unit: Unit = "sentence") -> list[Sentence]:
    """Return a document's sentences in order, ordinals from 0.

    A sentence carries the section it stands in, a heading line its own
    ("Annual report 2021 > Income statement"), and the page (from 1) on which
    it begins, None when the format has no pages.  ``unit="document"`` gives
    one sentence that spans the whole stripped text, whatever its length.
    """
    text = extraction.text
    if unit == "document":
        whole = _strip(text, 0, len(text))
        spans = [] if whole is None else [whole]
        places, paths = [0], [""]
    else:
        spans = split_sentences(
            text,
            units=extraction.units,
            headings=extraction.headings,
            pages=extraction.pages,
            max_chars=max_chars,
        )
        places, paths = section_paths(text, extraction.headings)
    return [
        Sentence(
            ordinal=ordinal,
            start=start,
            end=end,
            text=text[start:end],
            section=paths[bisect_right(places, start) - 1],
            page=max(1, bisect_right(extraction.pages, start)) if extraction.pages else None,
        )
        for ordinal, (start, end) in enumerate(spans)
    ]


def section_paths(text: str, headings: Sequence[Heading]) -> tuple[list[int], list[str]]:
    """Return ``(offsets, paths)``: from ``offsets[i]`` on, the section is ``paths[i]``."""
    offsets, paths = [0], [""]
    stack: list[tuple[int, str]] = []
    for heading in headings:
        while stack and stack[-1][0] >= heading.level:
            stack.pop()
        name = " ".join(heading.text.split())[:_MAX_HEADING_CHARS]
        stack.append((heading.level, name))
        offsets.append(heading_span(text, heading)[0])
        paths.append(SECTION_SEPARATOR.join(part for _, part in stack if part))
    return offsets, paths
