"""Characters to lines, lines to paragraphs: reading order is the content's own.

A line keeps its segments apart where the gap is wider than words ever stand:
that is how columns of a table without rules are seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from indexing.readers.pdfpage import Char

_COLUMN_GAP = 1.2  # in character heights; justified words stay under 1
_SAME_LINE_OVERLAP = 0.45
_BULLET = re.compile(r"(?:[•‣▪▫◦●○■□◆◇►▶➢✓∙·*–—-]|\(?[0-9a-zA-Z]{1,3}[.)]|[ivxIVX]{1,5}[.)]|[①-⑳])")
_ITEM = re.compile(r"(?:[•‣▪▫◦●○■□◆◇►▶➢✓∙]|[–—*-]\s|\(?[0-9]{1,3}[.)]\s|\([a-zA-Z]\)\s)")
_STOPS = ".!?:;。！？：；…”\"')）"
_HAN = "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_HAN_END = re.compile(f"[{_HAN}]$")
_HAN_START = re.compile(f"[{_HAN}]")


@dataclass(slots=True)
class Segment:
    """Text without a wide gap in it."""

    text: str
    left: float
    right: float


@dataclass(slots=True)
class Line:
    """One printed line; ``first`` and ``last`` are places in the page's content."""

    segments: list[Segment]
    bottom: float
    top: float
    size: float
    first: int
    last: int

    @property
    def left(self) -> float:
        return self.segments[0].left

    @property
    def right(self) -> float:
        return max(segment.right for segment in self.segments)

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    @property
    def item(self) -> bool:
        """Whether the line opens a list item."""
        return _ITEM.match(self.text + " ") is not None

    @property
    def columns(self) -> int:
        """Cells it would have as a table row; a bullet and its text are one."""
        count = len(self.segments)
        return count - 1 if _BULLET.fullmatch(self.segments[0].text) else count


def lines_of(chars: Iterable[Char]) -> list[Line]:
    """Return the lines in content order."""
    lines: list[Line] = []
    run: list[Char] = []
    for char in chars:
        if run and not _on_line(run[-1], char):
            lines.append(_line(run))
            run = []
        run.append(char)
    if run:
        lines.append(_line(run))
    return lines


def _on_line(before: Char, char: Char) -> bool:
    overlap = min(before.top, char.top) - max(before.bottom, char.bottom)
    if overlap < _SAME_LINE_OVERLAP * max(0.1, min(before.size, char.size)):
        return False
    return char.left > before.left - max(before.size, char.size) * 0.6


def _line(chars: Sequence[Char]) -> Line:
    size = _usual_size(chars)
    segments: list[Segment] = []
    parts: list[str] = []
    left = chars[0].left
    right = left
    for char in chars:
        if parts and char.left - right > _COLUMN_GAP * size:
            segments.append(Segment("".join(parts), left, right))
            parts, left = [], char.left
        elif parts and char.spaced:
            parts.append(" ")
        parts.append(char.text)
        right = max(right, char.right) if parts[1:] else char.right
    segments.append(Segment("".join(parts), left, right))
    main = [char for char in chars if abs(char.size - size) < 0.1 * size] or list(chars)
    return Line(
        segments,
        min(char.bottom for char in main),
        max(char.top for char in main),
        size,
        chars[0].index,
        chars[-1].index,
    )


def _usual_size(chars: Sequence[Char]) -> float:
    sizes = sorted(char.size for char in chars)
    return max(0.1, sizes[len(sizes) // 2])


def continues(above: Line, below: Line, right_edge: float) -> bool:
    """Whether ``below`` goes on with the paragraph of ``above``.

    ``right_edge`` is where the block's longest line ends: a line that stops
    short of it and ends a sentence ends the paragraph.
    """
    leading = above.bottom - below.bottom
    size = max(above.size, below.size)
    if not 0 < leading <= 1.75 * size or abs(above.size - below.size) > 0.12 * size:
        return False
    if below.item or min(above.right, below.right) <= max(above.left, below.left):
        return False
    if above.text[-1] in "-\u2010" and above.text[-2:-1].isalpha() and below.text[0].islower():
        return True
    indented = below.left - above.left > size and not above.item
    if indented and below.left - above.left < 6 * size and above.text[-1] in _STOPS:
        return False
    short = above.right < right_edge - 0.15 * max(1.0, right_edge - min(above.left, below.left))
    return not (short and above.text[-1] in _STOPS) and not (
        short and _next_word_fits(above, below, right_edge)
    )


def _next_word_fits(above: Line, below: Line, right_edge: float) -> bool:
    """A line broken although the next word had room was broken on purpose (an address, a title)."""
    word = below.segments[0].text.split(" ", 1)[0]
    if _HAN_START.match(word):
        word = word[:1]
    width = len(word) * (below.right - below.left) / max(1, len(below.text))
    return above.right + width + 2 * above.size < right_edge


def join_lines(parts: Sequence[str]) -> str:
    """Return the lines as one: hyphenated words whole, no space between Chinese characters.

    >>> join_lines(["an exam-", "ple of", "wrapped text"])
    'an example of wrapped text'
    >>> join_lines(["中文", "也行"])
    '中文也行'
    """
    text = ""
    for part in parts:
        text = join_two(text, part)
    return text


def join_two(above: str, below: str) -> str:
    """Return two lines of one paragraph as one."""
    if not above or not below:
        return above + below
    if above[-1] in "-\u2010" and above[-2:-1].isalpha() and below[0].islower():
        return above[:-1] + below
    if above[-1] in "-\u2010" and above[-2:-1].isalnum():
        return above + below
    if _HAN_END.search(above) and _HAN_START.match(below):
        return above + below
    return f"{above} {below}"
