"""A PDF's pages to one text: headings found, paragraphs joined, tables in their place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from indexing.readers.builder import Gap, TextBuilder
from indexing.readers.pdflayout import Line, continues, join_lines, join_two
from indexing.readers.pdfmodel import Bookmark, Page
from indexing.readers.pdftables import Table
from indexing.readers.tables import write_table
from indexing.records import Extraction, Scalar

_HEADING_RATIO = 1.12
_MAX_HEADING_CHARS = 200
_MAX_LEVELS = 4
_WORD = re.compile(r"[^\W\d_]")
# An outline often leaves out the number that the page prints: "2.1 ", "Appendix A ".
_NUMBERING = re.compile(
    r"(?:chapter|appendix|section|part|第)?[0-9a-zivx一二三四五六七八九十百.§]{0,8}[章节節部篇]?[:：.)—–-]?"
)
_STOPS = ".!?;,。！？；，、:："


def assemble(
    builder: TextBuilder,
    pages: Sequence[Page],
    bookmarks: Sequence[Bookmark],
    *,
    title: str,
    metadata: dict[str, Scalar],
) -> Extraction:
    """Return the document, written to an empty ``builder``; its title from the file's own fields."""
    return _Assembly(builder, pages, bookmarks).run(title, metadata)


Block = tuple[str, int, list[Line] | Table]  # kind: "heading" (level), "text" or "table"


class _Assembly:
    """Writes page after page; remembers what a page break may have cut apart."""

    def __init__(self, builder: TextBuilder, pages: Sequence[Page], bookmarks: Sequence[Bookmark]) -> None:
        self._pages = pages
        self._builder = builder
        self._outline: dict[int, list[Bookmark]] = {}
        for bookmark in bookmarks:
            self._outline.setdefault(bookmark.page, []).append(bookmark)
        self._body = _body_size(pages)
        self._levels = _size_levels(pages, self._body)
        self._offset = _deepest_size_level(self._levels)
        self._header: tuple[list[float], list[list[str]]] | None = None
        self._last_text = ""

    def run(self, title: str, metadata: dict[str, Scalar]) -> Extraction:
        for number, page in enumerate(self._pages):
            self._builder.page()
            first = True
            for kind, level, body in self._blocks(page, self._outline.get(number, [])):
                if isinstance(body, Table):
                    self._write_table(body, carried=first)
                elif kind == "heading":
                    self._builder.heading(join_lines([line.text for line in body]), level)
                    self._last_text = ""
                    self._header = None
                else:
                    self._write_text(body, carried=first)
                first = False
            if page.aside:
                self._builder.paragraph(page.aside)
        return self._builder.build(title=title, metadata=metadata)

    def _write_text(self, lines: list[Line], carried: bool) -> None:
        text = join_lines([line.text for line in lines])
        gap: Gap = "\n\n"
        if carried and self._last_text and _goes_on(self._last_text, text):
            gap = "" if join_two(self._last_text[-1], text[0]) == self._last_text[-1] + text[0] else " "
        self._builder.paragraph(text, gap=gap)
        self._last_text = text
        self._header = None

    def _write_table(self, table: Table, carried: bool) -> None:
        """Write a table; one that goes on from the page before takes its headers along."""
        rows, count = table.rows, table.header_rows
        before = self._header
        if carried and before is not None and _same_columns(before[0], table.edges):
            if rows[: len(before[1])] == before[1]:
                rows = rows[len(before[1]) :]
            elif count:
                before = None
            if before is not None:
                rows, count = [*before[1], *rows], len(before[1])
        write_table(self._builder, rows, header_rows=count, spans=True)
        self._header = (table.edges, rows[:count])
        self._last_text = ""

    def _blocks(self, page: Page, bookmarks: list[Bookmark]) -> Iterator[Block]:
        tables = list(page.tables)
        run: list[Line] = []
        index = 0
        while index < len(page.lines):
            line = page.lines[index]
            while tables and tables[0].first < line.first:
                yield from _text_block(run)
                run = []
                yield "table", 0, tables.pop(0)
            level, count = self._heading(page, index, bookmarks)
            if level:
                yield from _text_block(run)
                run = []
                yield "heading", level, page.lines[index : index + count]
            else:
                edge = max((one.right for one in [*run, line]), default=line.right)
                edge = max(edge, _right_edge(page.lines, index))
                if run and not continues(run[-1], line, edge):
                    yield from _text_block(run)
                    run = []
                run.append(line)
            index += count
        yield from _text_block(run)
        for table in tables:
            yield "table", 0, table

    def _heading(self, page: Page, index: int, bookmarks: list[Bookmark]) -> tuple[int, int]:
        """Return ``(level, lines)`` of the heading that begins here, ``(0, 1)`` when none does."""
        for count in (1, 2, 3):
            lines = page.lines[index : index + count]
            text = _key(join_lines([line.text for line in lines]))
            below = len(_key("".join(line.text for line in lines[1:])))
            for bookmark in bookmarks:
                title = _key(bookmark.title)
                # A page number above the heading must not pass for its numbering.
                if len(lines) == count and len(title) > below and _titled(text, title):
                    bookmarks.remove(bookmark)
                    return bookmark.level, count
        line = page.lines[index]
        if self._outline or not _may_be_heading(line.text):
            return 0, 1
        level = self._levels.get(_rounded(line.size), 0)
        if level:
            count = 1
            while count < 3 and _wraps(page.lines, index + count - 1):
                count += 1
            return level, count
        if line.first in page.bold and line.text[-1] not in _STOPS and _alone(page, index):
            return self._offset + 1, 1
        return 0, 1


def _titled(line: str, title: str) -> bool:
    """Whether a printed line is the heading that the outline names, both without white space."""
    if not title or not line.endswith(title):
        return False
    return line == title or (len(title) >= 3 and _NUMBERING.fullmatch(line[: -len(title)]) is not None)


def _text_block(run: list[Line]) -> Iterator[Block]:
    if run:
        yield "text", 0, run


def _right_edge(lines: Sequence[Line], index: int) -> float:
    """Where the column ends that a line stands in, judged by its neighbours."""
    line = lines[index]
    near = lines[max(0, index - 6) : index + 7]
    return max(one.right for one in near if abs(one.left - line.left) < 3 * line.size or one is line)


def _alone(page: Page, index: int) -> bool:
    """Whether a bold line is one on its own and not emphasis within bold text."""
    after = page.lines[index + 1] if index + 1 < len(page.lines) else None
    return after is None or after.first not in page.bold


def _wraps(lines: Sequence[Line], index: int) -> bool:
    """Whether a heading's line was too full for the first word of the line below."""
    if index + 1 >= len(lines):
        return False
    line, below = lines[index], lines[index + 1]
    leading = line.bottom - below.bottom
    if _rounded(below.size) != _rounded(line.size) or not 0 < leading <= 1.5 * line.size:
        return False
    word = below.text.split(" ", 1)[0][:30]
    width = (below.right - below.left) * len(word) / max(1, len(below.text))
    return line.right + width > max(one.right for one in lines) - 2 * line.size


def _may_be_heading(text: str) -> bool:
    return len(text) <= _MAX_HEADING_CHARS and _WORD.search(text) is not None


def _goes_on(above: str, below: str) -> bool:
    if above[-1] in ".!?。！？:：;；":
        return False
    return below[0].islower() or join_two(above[-1], below[0]) == above[-1] + below[0]


def _same_columns(first: Sequence[float], second: Sequence[float]) -> bool:
    return len(first) == len(second) and all(abs(a - b) < 12 for a, b in zip(first, second, strict=True))


def _key(text: str) -> str:
    return re.sub(r"\s+", "", text).casefold()


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _body_size(pages: Sequence[Page]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[_rounded(line.size)] += len(line.text)
    return max(sizes, key=lambda size: (sizes[size], -size), default=0.0)


def _size_levels(pages: Sequence[Page], body: float) -> dict[float, int]:
    """Line sizes clearly above the body's, largest first, as heading levels."""
    chars: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            if line.size >= _HEADING_RATIO * body and _may_be_heading(line.text):
                chars[_rounded(line.size)] += len(line.text)
    total = sum(len(line.text) for page in pages for line in page.lines)
    # A size that carries a third of the text is no heading's.
    sizes = sorted((size for size, count in chars.items() if count < total / 3), reverse=True)
    return {size: min(level, _MAX_LEVELS) for level, size in enumerate(sizes, start=1)}


def _deepest_size_level(levels: dict[float, int]) -> int:
    return max(levels.values(), default=0)
