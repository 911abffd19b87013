from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from indexing.errors import DamagedFileError, EmptyFileError, EncryptedFileError, ReadError
from indexing.readers import read_file
from tests.fakes.files import (
    TABLE_LINES,
    docx_bytes,
    extract,
    pptx_bytes,
    read,
    replace_member,
    saved,
    sections_of,
    units_of,
    xlsx_bytes,
    zip_bytes,
)


def test_docx(tmp_path: Path) -> None:
    found = read(tmp_path, "a.docx", docx_bytes())
    assert found.title == "Annual report"
    assert found.metadata["author"] == "A. Writer"
    assert sections_of(found) == [(1, "Annual report 2021"), (2, "Income statement")]
    assert units_of(found) == TABLE_LINES
    assert found.text.split("\n\n") == [
        "Annual report 2021",
        "Income statement",
        "Revenue rose. Costs fell.",
        "\n".join(TABLE_LINES),
        "After the table.",
    ]


def test_docx_style_based_on_a_heading_and_outline_level(tmp_path: Path) -> None:
    document = docx.Document()
    style = document.styles.add_style("Chapter", 1)
    style.base_style = document.styles["Heading 3"]
    document.add_paragraph("Styled", style="Chapter")
    paragraph = document.add_paragraph("Outlined")
    level = OxmlElement("w:outlineLvl")
    level.set(qn("w:val"), "1")
    paragraph._p.get_or_add_pPr().append(level)
    document.add_paragraph("Text.")
    found = read(tmp_path, "a.docx", saved(document.save))
    assert sections_of(found) == [(3, "Styled"), (2, "Outlined")]


def test_docx_revisions_read_as_accepted(tmp_path: Path) -> None:
    body = (
        b'<w:p><w:r><w:t xml:space="preserve">It </w:t></w:r><w:ins><w:r><w:t>is</w:t></w:r></w:ins>'
        b"<w:del><w:r><w:delText>was</w:delText><w:t>was</w:t></w:r></w:del>"
        b'<w:hyperlink><w:r><w:t xml:space="preserve"> new</w:t></w:r></w:hyperlink>'
        b"<w:r><w:br/><w:t>now.</w:t>"
        b"</w:r></w:p><w:sdt><w:sdtContent>"
        b"<w:p><w:r><w:t>In a control.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    data = replace_member(
        docx_bytes(), "word/document.xml", lambda xml: xml.replace(b"<w:body>", b"<w:body>" + body)
    )
    assert read(tmp_path, "a.docx", data).text.startswith(
        "It is new\nnow.\n\nIn a control.\n\nAnnual report 2021"
    )


def test_docx_merged_cells_and_marked_header(tmp_path: Path) -> None:
    document = docx.Document()
    table = document.add_table(rows=4, cols=3)
    for number, row in enumerate(
        (["", "Year", ""], ["", "2021", "2020"], ["North", "1", "2"], ["", "3", "4"])
    ):
        for column, text in enumerate(row):
            table.cell(number, column).text = text
    table.cell(0, 1).merge(table.cell(0, 2)).text = "Year"
    table.cell(2, 0).merge(table.cell(3, 0)).text = "North"
    for row in table.rows[:2]:
        row._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    found = read(tmp_path, "a.docx", saved(document.save))
    assert units_of(found) == [
        "North | Year 2021: 1 | Year 2020: 2",
        "North | Year 2021: 3 | Year 2020: 4",
    ]


def test_pptx(tmp_path: Path) -> None:
    found = read(tmp_path, "a.pptx", pptx_bytes())
    assert sections_of(found) == [(1, "Goals"), (1, "Figures")]
    assert found.pages == (0, found.text.index("Figures"))
    assert found.text[: found.pages[1]].split("\n\n")[:-1] == [
        "Goals",
        "Grow in Asia.",
        "Cut waste.",
        "Pause here.",
    ]
    assert units_of(found) == TABLE_LINES
    assert found.metadata["slides"] == 2


def test_pptx_groups_charts_and_empty_slides(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[6])
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    group = slide.shapes.add_group_shape().shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "Deep inside.\vSoft break."
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Q1", (1.5, None))
    data.add_series("Q2", (2, 3))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 9999, 9999, data)
    deck.slides.add_slide(deck.slide_layouts[6])
    found = read(tmp_path, "a.pptx", saved(deck.save))
    assert found.pages == (0, 0, len(found.text))
    assert found.text.startswith("Deep inside.\nSoft break.\n\n")
    assert units_of(found) == ["East | Q1: 1.5 | Q2: 2", "West | Q2: 3"]


def test_xlsx(tmp_path: Path) -> None:
    found = read(tmp_path, "a.xlsx", xlsx_bytes())
    assert sections_of(found) == [(1, "Income"), (1, "Staff")]
    assert units_of(found) == [
        "Revenue | 2021: 1.5 | 2020: 1.25",
        "Costs | 2021: 1 | 2020: 0.3",
        "Name: Bo | Joined: 2020-05-01",
    ]


def test_xlsx_several_tables_offsets_and_types(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "All"
    sheet["B2"] = "A note on top."
    for column, text in enumerate(("When", "Done"), start=3):
        sheet.cell(4, column, text)
    sheet.cell(5, 3, dt.datetime(2020, 1, 2, 3, 4))
    sheet.cell(5, 4, True)
    sheet.cell(900, 3, "alone")
    book.create_sheet("Blank")
    found = read(tmp_path, "a.xlsx", saved(book.save))
    assert sections_of(found) == [(1, "All")]
    assert found.text.split("\n\n") == [
        "All",
        "A note on top.",
        "When: 2020-01-02 03:04:00 | Done: TRUE",
        "alone",
    ]


@pytest.mark.parametrize(
    ("name", "data"), [("a.docx", docx_bytes), ("a.pptx", pptx_bytes), ("a.xlsx", xlsx_bytes)]
)
def test_truncated(tmp_path: Path, name: str, data: object) -> None:
    whole = data()  # type: ignore[operator]
    path = tmp_path / name
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DamagedFileError, match=name):
            extract(path)


PARTS = {
    "a.docx": "word/document.xml",
    "a.pptx": "ppt/slides/slide1.xml",
    "a.xlsx": "xl/worksheets/sheet1.xml",
}
WHOLE = {"a.docx": docx_bytes, "a.pptx": pptx_bytes, "a.xlsx": xlsx_bytes}


@pytest.mark.parametrize("name", PARTS)
def test_a_broken_part_inside_a_good_zip(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(replace_member(WHOLE[name](), PARTS[name], lambda xml: xml[: len(xml) // 2]))
    with pytest.raises(DamagedFileError, match=name):
        extract(path)


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("before", [b"", b"<!-- <x -->", b"<!--" + b" " * 70_000 + b"-->"])
def test_entity_declarations_are_refused(tmp_path: Path, name: str, before: bytes) -> None:
    def infect(xml: bytes) -> bytes:
        root = xml.index(b"?>") + 2 if xml.startswith(b"<?xml") else 0
        return xml[:root] + before + LAUGHS + xml[root:]

    path = tmp_path / name
    path.write_bytes(replace_member(WHOLE[name](), PARTS[name], infect))
    with pytest.raises(DamagedFileError, match="declares XML entities"):
        extract(path)


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(zip_bytes({"word/media/x.bin": b"\x00" * 30_000_000}))
    with pytest.raises(ReadError, match="zip bomb"):
        list(read_file(path, max_bytes=100_000_000))
    with pytest.raises(ReadError, match=r"unpacks to 30\.0 MB"):
        list(read_file(path, max_bytes=1_000_000))


def test_encrypted_and_legacy_office(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 500
    path.write_bytes(ole + "EncryptedPackage".encode("utf-16-le"))
    with pytest.raises(EncryptedFileError, match="password"):
        extract(path)
    path.write_bytes(ole)
    with pytest.raises(DamagedFileError, match="before 2007"):
        extract(path)


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.docx", docx.Document), ("a.pptx", pptx.Presentation), ("a.xlsx", openpyxl.Workbook)],
)
def test_empty(tmp_path: Path, name: str, make: object) -> None:
    stream = io.BytesIO()
    make().save(stream)  # type: ignore[operator]
    path = tmp_path / name
    path.write_bytes(stream.getvalue())
    with pytest.raises(EmptyFileError, match=name):
        extract(path)
