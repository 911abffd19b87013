"""HTML tables as grids of text: spans filled in, layout tables told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexing.readers.builder import one_line

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

# A hostile colspan must not fill the memory.
_MAX_SPAN = 200
_MAX_COLUMNS = 1000
_MAX_FILLED = 100_000  # cells of one table that spans from above may add
_LAYOUT = frozenset(["table", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "ul", "ol", "form"])
_LONG_CELL_CHARS = 600


def data_table(table: Element) -> tuple[list[list[str]], int | None, str] | None:
    """Return ``(rows, header rows, caption)``; None when the table only lays out the page.

    A table that holds headings, lists or tables, one with a single column, or
    one whose cells run to paragraphs, is layout.  The number of header rows is
    None when the markup does not tell (no ``thead``, no row of ``th``).
    """
    if any(node.tag in _LAYOUT for node in table.iterdescendants()):
        return None
    lines = list(table.iter("tr"))
    rows = _grid(lines)
    if (
        not rows
        or max(map(len, rows)) < 2
        or any(len(cell) > _LONG_CELL_CHARS for row in rows for cell in row)
    ):
        return None
    header_rows = 0
    for line in lines:
        if not _is_header(line):
            break
        header_rows += 1
    caption = next((one_line("".join(node.itertext())) for node in table.iter("caption")), "")
    return rows, header_rows or None, caption


def _is_header(line: Element) -> bool:
    parent = line.getparent()
    if parent is not None and parent.tag == "thead":
        return True
    cells = [cell for cell in line if cell.tag in ("td", "th")]
    # A blank corner is often a td.
    return len(cells) > 1 and all(cell.tag == "th" or not "".join(cell.itertext()).strip() for cell in cells)


def _grid(lines: list[Element]) -> list[list[str]]:
    rows: list[list[str]] = []
    waiting: dict[int, tuple[int, str]] = {}  # column -> (rows still covered from above, text)
    budget = _MAX_FILLED
    for line in lines:
        row: list[str] = []
        for cell in line:
            if cell.tag not in ("td", "th"):
                continue
            budget -= _fill_from_above(row, waiting)
            text = one_line("".join(cell.itertext()))
            height = _span(cell.get("rowspan"))
            for _ in range(_span(cell.get("colspan"))):
                if len(row) >= _MAX_COLUMNS:
                    break
                if height > 1:
                    waiting[len(row)] = (height - 1, text)
                row.append(text)
        budget -= _fill_from_above(row, waiting)
        rows.append(row)
        if budget < 0:
            waiting.clear()
    return rows


def _fill_from_above(row: list[str], waiting: dict[int, tuple[int, str]]) -> int:
    """Add the cells that reach down into this row; return how many."""
    before = len(row)
    while (above := waiting.get(len(row))) is not None:
        left, text = above
        if left > 1:
            waiting[len(row)] = (left - 1, text)
        else:
            del waiting[len(row)]
        row.append(text)
    return len(row) - before


def _span(value: str | None) -> int:
    try:
        return max(1, min(_MAX_SPAN, int(value or 1)))
    except ValueError:
        return 1
