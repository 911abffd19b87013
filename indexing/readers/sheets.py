"""Excel (.xlsx, .xlsm): a sheet is a section, each row one unit with its headers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from indexing.readers.builder import TextBuilder
from indexing.readers.metadata import scalars
from indexing.readers.source import Source
from indexing.readers.tables import write_table
from indexing.readers.zips import open_zip
from indexing.records import Extraction

_MAX_COLUMNS = 1000


def read_xlsx(source: Source) -> Iterator[Extraction]:
    """Yield the workbook; formulas by the values that were last calculated."""
    import openpyxl

    with open_zip(source) as archive:
        book = openpyxl.load_workbook(archive.fp, read_only=True, data_only=True, keep_links=False)
        builder = source.builder()
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # a wrong <dimension> hides rows or invents a million
            rows = (
                [_shown(cell) for cell in row[:_MAX_COLUMNS]] for row in sheet.iter_rows(values_only=True)
            )
            _append_sheet(builder, sheet.title, rows)
        core = book.properties
        fields = {"author": core.creator, "created": core.created, "modified": core.modified}
        title = core.title or ""
        book.close()
    yield builder.build(title=title, metadata=scalars(fields))


def _append_sheet(builder: TextBuilder, name: str, rows: Iterator[list[str]]) -> None:
    """A sheet may hold several tables, a blank row between them; one filled cell alone is prose."""
    table: list[list[str]] = []
    headed = False
    for row in rows:
        filled = sum(1 for cell in row if cell.strip())
        if filled and not headed:
            builder.heading(name, 1)
            headed = True
        if not filled:
            _flush(builder, table)
        elif filled == 1 and not table:
            builder.paragraph(next(cell for cell in row if cell.strip()))
        else:
            table.append(row)
    _flush(builder, table)


def _flush(builder: TextBuilder, table: list[list[str]]) -> None:
    if not table:
        return
    first = min(index for row in table for index, cell in enumerate(row) if cell.strip())
    write_table(builder, [row[first:] for row in table])
    table.clear()


def _shown(value: Any) -> str:
    """A cell as text: whole floats without ``.0``, dates without a midnight."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return f"{value:.15g}"  # Excel keeps 15 digits: 0.1 + 0.2 reads 0.3
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat(sep=" ")
    return str(value)
