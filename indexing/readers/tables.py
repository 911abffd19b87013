"""Table rows to lines that can be understood alone: the headers are repeated in each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from indexing.readers.builder import TextBuilder, one_line

Row = Sequence[str]

_NUMBER = re.compile(r"[\s()\d.,%+\-−–—/$€£¥₹]*\d[\s()\d.,%+\-−–—/$€£¥₹]*")
_YEAR = re.compile(r"(?:19|20)\d\d")
_MAX_HEADER_CHARS = 120
MAX_REPEATED_CHARS = 500  # a longer cell that spans rows is said in its first row alone


def looks_like_header(first: Row, second: Row | None) -> bool:
    """Whether a table's first row names its columns.

    It does when a row follows, at least two of its cells are filled, all but
    the first are, they differ, and none is a plain number (a year may be).

    >>> looks_like_header(["", "2020", "2019"], ["Revenue", "1.5", "1.2"])
    True
    >>> looks_like_header(["Revenue", "1.5"], ["Costs", "1.2"])
    False
    """
    if second is None or len(first) < 2 or not any(first):
        return False
    cells = [cell.strip() for cell in first]
    named = [cell for cell in cells if cell]
    if not all(cells[1:]) or len(set(named)) < len(named):
        return False
    return not any(len(cell) > _MAX_HEADER_CHARS or is_number(cell) for cell in named)


def is_number(cell: str) -> bool:
    """Whether a cell is a figure; a year reads as a name."""
    cell = cell.strip()
    return _NUMBER.fullmatch(cell) is not None and _YEAR.fullmatch(cell) is None


def merge_headers(rows: Sequence[Row]) -> list[str]:
    """Return one name per column from several header rows, a spanning cell repeated.

    >>> merge_headers([["", "Year ended", "Year ended"], ["", "2020", "2019"]])
    ['', 'Year ended 2020', 'Year ended 2019']
    """
    names = []
    for column in range(max((len(row) for row in rows), default=0)):
        parts: list[str] = []
        for row in rows:
            cell = one_line(row[column]) if column < len(row) else ""
            if cell and cell not in parts:
                parts.append(cell)
        names.append(" ".join(parts))
    return names


def row_line(cells: Row, header: Row = (), *, spans: bool = False) -> str:
    """Return ``Header: value | Header: value``, empty cells left out.

    ``spans``: a cell over several columns stands in each of them; say it once.

    >>> row_line(["Revenue", "1.5", ""], ["", "2020", "2019"])
    'Revenue | 2020: 1.5'
    """
    parts: list[str] = []
    for column, cell in enumerate(cells):
        value = one_line(cell)
        if not value:
            continue
        name = one_line(header[column])[:_MAX_HEADER_CHARS] if column < len(header) else ""
        name = name.rstrip(":： ")
        part = f"{name}: {value}" if name and name != value else value
        if not (spans and parts and parts[-1] == part):
            parts.append(part)
    return " | ".join(parts)


def write_table(
    builder: TextBuilder, rows: Iterable[Row], *, header_rows: int | None = None, spans: bool = False
) -> None:
    """Write a table, one unit per row.

    Args:
        builder: what to write to.
        rows: cells as text; need not be of one length.
        header_rows: how many rows name the columns; None: decided by
            :func:`looks_like_header`.
        spans: as for :func:`row_line`.
    """
    builder.end_rows()
    for line in row_lines(rows, header_rows=header_rows, spans=spans):
        builder.row(line)
    builder.end_rows()


def row_lines(rows: Iterable[Row], *, header_rows: int | None = None, spans: bool = False) -> Iterator[str]:
    """Yield one line per row; header rows are said only when nothing follows them."""
    remaining = (row for row in rows if any(cell.strip() for cell in row))
    first = next(remaining, None)
    if first is None:
        return
    second = next(remaining, None)
    if header_rows is None:
        header_rows = 1 if looks_like_header(first, second) else 0
    named: list[Row] = []
    header: list[str] = []
    told = False
    for row in _chain(first, second, remaining):
        if len(named) < header_rows:
            named.append(row)
            header = merge_headers(named)
            continue
        told = True
        yield row_line(row, header, spans=spans)
    if not told:
        for row in named:
            yield row_line(row, spans=spans)


def _chain(first: Row, second: Row | None, rest: Iterable[Row]) -> Iterator[Row]:
    yield first
    if second is not None:
        yield second
    yield from rest
