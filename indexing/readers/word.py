"""Word (.docx): paragraphs, headings by style, tables as rows, footnotes at the end.

python-docx opens the package and its styles; the text is read from the XML,
because its ``paragraph.text`` leaves out tracked insertions, content controls
and formulas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from indexing.readers.builder import TextBuilder
from indexing.readers.metadata import scalars
from indexing.readers.source import Source
from indexing.readers.tables import MAX_REPEATED_CHARS, write_table
from indexing.readers.zips import open_zip
from indexing.records import Extraction

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FOOTNOTES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
_SKIPPED = frozenset(
    {
        _W + "del",
        _W + "moveFrom",
        _W + "txbxContent",  # text boxes are written after their paragraph
        _W + "instrText",
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # says the text box again
    }
)
_BREAKS = {
    _W + "tab": "\t",
    _W + "br": "\n",
    _W + "cr": "\n",
    _W + "noBreakHyphen": "-",
    _W + "softHyphen": "",
}
_WRAPPERS = frozenset({_W + name for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag")})
_HEADING_STYLE = re.compile(r"(?i)heading ([1-9])")
_MAX_SPAN = 200  # Word itself has 63 columns at most


def read_docx(source: Source) -> Iterator[Extraction]:
    """Yield the document; title, author and dates from its core properties."""
    import docx

    with open_zip(source) as archive:
        document = docx.Document(archive.fp)
        levels = _heading_levels(document)
        builder = source.builder()
        _append_blocks(builder, document.element.body, levels)
        for relation in document.part.rels.values():
            if relation.reltype == _FOOTNOTES and not relation.is_external:
                _append_footnotes(builder, relation.target_part.blob)
        core = document.core_properties
        fields = {
            "author": core.author,
            "created": core.created,
            "modified": core.modified,
            "subject": core.subject,
            "keywords": core.keywords,
        }
        title = core.title or ""
    yield builder.build(title=title, metadata=scalars(fields))


def _heading_levels(document: Any) -> dict[str, int]:
    """Style id to heading level: by built-in name, else by outline level, inherited from the base style.

    The names of built-in styles are English in every language's Word.
    """
    own: dict[str, int] = {}
    base: dict[str, str] = {}
    for style in document.styles.element.iter(_W + "style"):
        style_id = style.get(_W + "styleId")
        name = style.find(_W + "name")
        parent = style.find(_W + "basedOn")
        if style_id is None or style.get(_W + "type") != "paragraph":
            continue
        if parent is not None:
            base[style_id] = parent.get(_W + "val")
        match = _HEADING_STYLE.fullmatch(name.get(_W + "val", "")) if name is not None else None
        level = int(match.group(1)) if match else _outline_level(style.find(_W + "pPr"))
        if name is not None and name.get(_W + "val", "").lower() == "title":
            level = 1
        if level is not None:
            own[style_id] = level
    levels = dict(own)
    for style_id in base:
        seen: set[str] = set()
        current: str | None = style_id
        while current is not None and current not in own and current not in seen:
            seen.add(current)
            current = base.get(current)
        if current in own:
            levels[style_id] = own[current]
    return {style_id: level for style_id, level in levels.items() if level <= 9}


def _outline_level(properties: Element | None) -> int | None:
    outline = properties.find(_W + "outlineLvl") if properties is not None else None
    try:
        return int(outline.get(_W + "val", "9")) + 1 if outline is not None else None
    except ValueError:
        return None


def _append_blocks(builder: TextBuilder, parent: Element, levels: dict[str, int]) -> None:
    for child in parent:
        if child.tag == _W + "p":
            _append_paragraph(builder, child, levels)
        elif child.tag == _W + "tbl":
            rows, header_rows = _table(child)
            write_table(builder, rows, header_rows=header_rows, spans=True)
        elif child.tag in _WRAPPERS:
            _append_blocks(builder, child, levels)


def _append_paragraph(builder: TextBuilder, paragraph: Element, levels: dict[str, int]) -> None:
    properties = paragraph.find(_W + "pPr")
    style = properties.find(_W + "pStyle") if properties is not None else None
    level = _outline_level(properties)
    if level is None and style is not None:
        level = levels.get(style.get(_W + "val", ""))
    text = _text(paragraph)
    if level is not None and level <= 9:
        builder.heading(text, level)
    else:
        builder.paragraph(text)
    for box in paragraph.iter(_W + "txbxContent"):
        if not any(above.tag in _SKIPPED for above in box.iterancestors()):
            _append_blocks(builder, box, levels)


def _text(root: Element) -> str:
    """The text of a paragraph as it reads with all changes accepted."""
    parts: list[str] = []
    stack = list(reversed(root))
    while stack:
        node = stack.pop()
        if node.tag in (_W + "t", _M + "t"):
            parts.append(node.text or "")
        elif node.tag in _BREAKS:
            parts.append(_BREAKS[node.tag])
        elif node.tag not in _SKIPPED and node.tag != _W + "pPr":
            stack.extend(reversed(node))
    return "".join(parts)


def _table(table: Element) -> tuple[list[list[str]], int | None]:
    rows: list[list[str]] = []
    header_rows = 0
    for line in _inside(table, _W + "tr"):
        row: list[str] = []
        for cell in _inside(line, _W + "tc"):
            properties = cell.find(_W + "tcPr")
            merge = properties.find(_W + "vMerge") if properties is not None else None
            continues = merge is not None and merge.get(_W + "val", "continue") == "continue"
            above = rows[-1] if rows else []
            text = above[len(row)] if continues and len(row) < len(above) else _cell_text(cell)
            if continues and len(text) > MAX_REPEATED_CHARS:
                text = ""
            row.extend([text] * min(_grid_span(properties), _MAX_SPAN - len(row)))
        if header_rows == len(rows) and line.find(f"{_W}trPr/{_W}tblHeader") is not None:
            header_rows += 1
        rows.append(row)
    return rows, header_rows or None


def _inside(parent: Element, tag: str) -> Iterator[Element]:
    """Children with this tag, those in content controls and tracked insertions too."""
    for child in parent:
        if child.tag == tag:
            yield child
        elif child.tag in _WRAPPERS:
            yield from _inside(child, tag)


def _cell_text(cell: Element) -> str:
    """All paragraphs of a cell, those of a table inside it too."""
    return " ".join(text for paragraph in cell.iter(_W + "p") if (text := _text(paragraph).strip()))


def _grid_span(properties: Element | None) -> int:
    span = properties.find(_W + "gridSpan") if properties is not None else None
    try:
        return max(1, min(_MAX_SPAN, int(span.get(_W + "val", "1")))) if span is not None else 1
    except ValueError:
        return 1


def _append_footnotes(builder: TextBuilder, blob: bytes) -> None:
    from docx.oxml import parse_xml  # resolves no entities

    for note in parse_xml(blob).iter(_W + "footnote"):
        if note.get(_W + "type") is None:  # separators have a type
            builder.paragraph(" ".join(_text(paragraph) for paragraph in note.iter(_W + "p")))
