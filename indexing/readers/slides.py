"""PowerPoint (.pptx): a slide is a page, its title a heading; tables, charts and notes follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from indexing.readers.builder import TextBuilder, one_line
from indexing.readers.metadata import scalars
from indexing.readers.source import Source
from indexing.readers.tables import MAX_REPEATED_CHARS, write_table
from indexing.readers.zips import open_zip
from indexing.records import Extraction

_MAX_GROUP_DEPTH = 20


def read_pptx(source: Source) -> Iterator[Extraction]:
    """Yield the presentation, ``pages[i]`` where slide ``i + 1`` begins."""
    import pptx

    with open_zip(source) as archive:
        deck = pptx.Presentation(archive.fp)
        builder = source.builder()
        for slide in deck.slides:
            builder.page()
            _append_slide(builder, slide)
        core = deck.core_properties
        fields = {
            "author": core.author,
            "created": core.created,
            "modified": core.modified,
            "subject": core.subject,
            "keywords": core.keywords,
            "slides": len(deck.slides),
        }
        title = core.title or ""
    # The library's own template is titled so, and so is what it made.
    yield builder.build(title="" if title == "PowerPoint Presentation" else title, metadata=scalars(fields))


def _append_slide(builder: TextBuilder, slide: Any) -> None:
    title = slide.shapes.title
    if title is not None:
        builder.heading(title.text_frame.text, 1)
    for shape in _flat(slide.shapes, _MAX_GROUP_DEPTH):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if getattr(shape, "has_table", False):
            table = shape.table
            write_table(builder, _rows(table), header_rows=1 if table.first_row else None, spans=True)
        elif getattr(shape, "has_chart", False):
            _append_chart(builder, shape.chart)
        elif shape.has_text_frame:
            for paragraph in shape.text_frame.paragraphs:
                builder.paragraph(_text(paragraph))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        for paragraph in slide.notes_slide.notes_text_frame.paragraphs:
            builder.paragraph(_text(paragraph))


def _flat(shapes: Iterable[Any], depth: int) -> Iterator[Any]:
    """Shapes as drawn, those in groups in place of their group."""
    for shape in shapes:
        inner = getattr(shape, "shapes", None)
        if inner is None:
            yield shape
        elif depth:
            yield from _flat(inner, depth - 1)


def _text(paragraph: Any) -> str:
    return str(paragraph.text).replace("\x0b", "\n")  # the library's sign for a soft line break


def _rows(table: Any) -> list[list[str]]:
    """The grid of a table; a merged cell's text stands in every place that it covers."""
    rows: list[list[str]] = []
    for line in table.rows:
        row: list[str] = []
        for cell in line.cells:
            text = one_line(cell.text_frame.text)
            if cell.is_spanned and not text:
                left = cell._tc.get("hMerge") in ("1", "true")
                if left and row:
                    text = row[-1]
                elif not left and rows and len(row) < len(rows[-1]):
                    text = rows[-1][len(row)]
            row.append(text if not cell.is_spanned or len(text) <= MAX_REPEATED_CHARS else "")
        rows.append(row)
    return rows


def _append_chart(builder: TextBuilder, chart: Any) -> None:
    if chart.has_title and chart.chart_title.has_text_frame:
        builder.paragraph(chart.chart_title.text_frame.text)
    for plot in chart.plots:
        series = list(plot.series)
        header = ["", *(str(line.name) for line in series)]
        values = [list(line.values) for line in series]
        rows = [header]
        for index, category in enumerate(plot.categories):
            numbers = [column[index] if index < len(column) else None for column in values]
            rows.append([str(category), *("" if number is None else f"{number:g}" for number in numbers)])
        write_table(builder, rows, header_rows=1)
