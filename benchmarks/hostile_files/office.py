"""What is particular to Word, PowerPoint, Excel and EPUB."""

from __future__ import annotations

from functools import partial

from benchmarks.hostile_files import honest
from benchmarks.hostile_files.honest import CHAPTER, TEXT, members, opf, pack
from benchmarks.hostile_files.record import CLEAN, DAMAGED, ENCRYPTED, LIMIT, SECRET_URL, HostileFile

_DRM = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/></encryption>'
)


def _inside(data: bytes, name: str, before: bytes, insert: bytes) -> bytes:
    parts = members(data)
    place = parts[name].index(before)
    parts[name] = parts[name][:place] + insert + parts[name][place:]
    return pack(parts)


def _docx(body: str) -> bytes:
    return _inside(honest.docx(), "word/document.xml", b"<w:sectPr", body.encode())


def _paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def _docx_spans() -> bytes:
    """A row whose cells span 200 columns each, repeated: short in the file, long as text."""
    text = _paragraph("river " * 60)
    cells = "".join(
        f'<w:tc><w:tcPr><w:gridSpan w:val="1000000000"/></w:tcPr>{_paragraph(f"c{n}") if n else text}</w:tc>'
        for n in range(50)
    )
    return _docx(f"<w:tbl>{f'<w:tr>{cells}</w:tr>' * 350}</w:tbl>")


def _docx_styles() -> bytes:
    style = (
        '<w:style w:type="paragraph" w:styleId="{a}"><w:name w:val="{a}"/><w:basedOn w:val="{b}"/></w:style>'
    )
    loop = style.format(a="LoopA", b="LoopB") + style.format(a="LoopB", b="LoopA")
    return _inside(honest.docx(), "word/styles.xml", b"</w:styles>", loop.encode())


def _docx_external() -> bytes:
    relation = (
        '<Relationship Id="rIdX" TargetMode="External" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/attachedTemplate" '
        f'Target="{SECRET_URL}"/>'
    )
    return _inside(honest.docx(), "word/_rels/document.xml.rels", b"</Relationships>", relation.encode())


def _docx_relation_loop() -> bytes:
    relation = (
        '<Relationship Id="rIdX" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes" '
        'Target="document.xml"/>'
    )
    return _inside(honest.docx(), "word/_rels/document.xml.rels", b"</Relationships>", relation.encode())


def _relation_missing(data: bytes, name: str) -> bytes:
    relation = '<Relationship Id="rIdX" Type="http://x.example/none" Target="nowhere/at/all.xml"/>'
    return _inside(data, name, b"</Relationships>", relation.encode())


def _docx_nested_tables() -> bytes:
    opening = "<w:tbl><w:tr><w:tc>"
    closing = "<w:p/></w:tc></w:tr></w:tbl>"
    return _docx(opening * 60 + _paragraph("deep") + closing * 60)


def _sheet(rows: str, dimension: str = "A1:B2") -> bytes:
    parts = members(honest.xlsx())
    parts["xl/worksheets/sheet1.xml"] = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f'<dimension ref="{dimension}"/><sheetData>{rows}</sheetData></worksheet>'
    ).encode()
    return pack(parts)


def _cell(reference: str, text: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{text}</t></is></c>'


_ROW = f'<row r="1">{_cell("A1", "Danube")}{_cell("B1", "long")}</row>'


def _rows(number: str) -> str:
    return f'{_ROW}<row r="{number}">{_cell("A" + number, "x")}{_cell("B" + number, "y")}</row>'


def _slides_twice() -> bytes:
    parts = members(honest.pptx())
    main = parts["ppt/presentation.xml"]
    start, end = main.index(b"<p:sldId "), main.index(b"</p:sldIdLst>")
    parts["ppt/presentation.xml"] = main[:end] + main[start:end] * 200 + main[end:]
    return pack(parts)


def _groups(levels: int) -> bytes:
    shape = (
        '<p:sp><p:nvSpPr><p:cNvPr id="99" name="s"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr/>'
        f"<p:txBody><a:bodyPr/><a:p><a:r><a:t>{TEXT}</a:t></a:r></a:p></p:txBody></p:sp>"
    )
    head = (
        '<p:grpSp><p:nvGrpSpPr><p:cNvPr id="98" name="g"/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
    )
    body = head * levels + shape + "</p:grpSp>" * levels
    return _inside(honest.pptx(), "ppt/slides/slide1.xml", b"</p:spTree>", body.encode())


def _same_chapter(times: int) -> bytes:
    chapter = f"<html><body><p>{TEXT * 8000}</p></body></html>"
    spine = '<itemref idref="a"/>' * times
    item = '<item id="a" href="a.xhtml" media-type="text/html"/>'
    return honest.epub({}, **{"a.xhtml": chapter, "book.opf": opf(item, spine)})


def _spine(items: str, spine: str) -> bytes:
    return honest.epub({}, **{"book.opf": opf(items, spine)})


def _chapter(body: str) -> bytes:
    return honest.epub({"a.xhtml": body})


def _office() -> list[tuple[str, str, str, partial[bytes]]]:
    rels = "ppt/_rels/presentation.xml.rels"
    return [
        ("spans.docx", "cells that span 10^9 columns", CLEAN, partial(_docx_spans)),
        ("style-loop.docx", "styles based on each other", CLEAN, partial(_docx_styles)),
        ("template.docx", "a template that is /etc/passwd", CLEAN, partial(_docx_external)),
        ("relation-loop.docx", "the text is its own footnotes", CLEAN, partial(_docx_relation_loop)),
        (
            "relation-lost.pptx",
            "a part that is not there",
            CLEAN,
            partial(_relation_missing, honest.pptx(), rels),
        ),
        ("tables.docx", "tables in tables, 60 deep", CLEAN, partial(_docx_nested_tables)),
        ("slides.pptx", "one slide, 201 times", CLEAN, partial(_slides_twice)),
        ("groups.pptx", "groups in groups, 60 deep", CLEAN, partial(_groups, 60)),
        ("groups-deep.pptx", "groups in groups, 2,000 deep", DAMAGED, partial(_groups, 2000)),
        ("dimension.xlsx", "says it has 17 billion cells", CLEAN, partial(_sheet, _ROW, "A1:XFD1048576")),
        ("row-last.xlsx", "a million rows left out", CLEAN, partial(_sheet, _rows("1048576"))),
        ("row-huge.xlsx", "two billion rows left out", LIMIT, partial(_sheet, _rows("2000000000"))),
        ("row-words.xlsx", "a row that is no number", DAMAGED, partial(_sheet, _rows("many"))),
        ("column-last.xlsx", "16,383 columns left out", CLEAN, partial(_sheet, _ROW.replace("B1", "XFD1"))),
        (
            "shared.xlsx",
            "a shared string that is not there",
            DAMAGED,
            partial(_sheet, '<row r="1"><c r="A1" t="s"><v>999999</v></c></row>'),
        ),
        (
            "formula.xlsx",
            "a formula that starts a program",
            CLEAN,
            partial(
                _sheet,
                _ROW + '<row r="2"><c r="A2"><f>cmd|"/C calc"!A0</f><v>1</v></c><c r="B2"><v>2</v></c></row>',
            ),
        ),
        (
            "number.xlsx",
            "a number of 10^400",
            CLEAN,
            partial(_sheet, _ROW + '<row r="2"><c r="A2"><v>1e400</v></c><c r="B2"><v>2</v></c></row>'),
        ),
    ]


def _books() -> list[tuple[str, str, str, partial[bytes]]]:
    return [
        (
            "drm.epub",
            "chapters under DRM",
            ENCRYPTED,
            partial(honest.epub, None, **{"META-INF/encryption.xml": _DRM}),
        ),
        ("chapter-bomb.epub", "one chapter, 2,000 times", LIMIT, partial(_same_chapter, 2000)),
        (
            "spine-lost.epub",
            "a spine of chapters that are not listed",
            DAMAGED,
            partial(_spine, "", '<itemref idref="z"/>'),
        ),
        (
            "spine-slip.epub",
            "a chapter at ../../../etc/passwd",
            DAMAGED,
            partial(
                _spine,
                '<item id="a" href="../../../../etc/passwd" media-type="text/html"/>',
                '<itemref idref="a"/>',
            ),
        ),
        (
            "root-slip.epub",
            "a package file at /etc/passwd",
            DAMAGED,
            partial(
                honest.epub,
                None,
                **{"META-INF/container.xml": honest.CONTAINER.replace("book.opf", "/etc/passwd")},
            ),
        ),
        (
            "root-none.epub",
            "no package file named",
            DAMAGED,
            partial(honest.epub, None, **{"META-INF/container.xml": "<container/>"}),
        ),
        (
            "chapter-script.epub",
            "a chapter with a script",
            CLEAN,
            partial(_chapter, CHAPTER.replace("<body>", "<body><script>for(;;);</script>")),
        ),
        (
            "chapter-include.epub",
            "a chapter that includes /etc/passwd",
            CLEAN,
            partial(_chapter, CHAPTER.replace("<body>", f'<body><object data="{SECRET_URL}"></object>')),
        ),
        (
            "chapter-binary.epub",
            "a chapter that is binary",
            DAMAGED,
            partial(honest.epub, {"a.xhtml": bytes(range(256)) * 9}),
        ),
    ]


def files() -> list[HostileFile]:
    """The attacks on one format each."""
    return [HostileFile(*one) for one in (*_office(), *_books())]
