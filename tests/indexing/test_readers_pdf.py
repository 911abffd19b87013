from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfgen import canvas

from indexing.errors import DamagedFileError, EmptyFileError, EncryptedFileError
from indexing.readers.pdflayout import join_lines
from indexing.records import Extraction
from tests.fakes.files import extract, extract_one, grid, heading, pdf_bytes, prose, sections_of, units_of


def drawn(tmp_path: Path, draw: Callable[[Any], None]) -> Extraction:
    stream = io.BytesIO()
    page = canvas.Canvas(stream, pagesize=(420, 595))
    draw(page)
    page.save()
    path = tmp_path / "a.pdf"
    path.write_bytes(stream.getvalue())
    return extract_one(path)


def pages_of(found: Extraction) -> list[str]:
    ends = [*found.pages[1:], len(found.text)]
    return [found.text[start:end].strip() for start, end in zip(found.pages, ends, strict=True)]


def test_three_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf_bytes())
    found = extract_one(path)
    assert found.title == "Annual report"
    assert found.metadata["author"] == "A. Writer"
    assert found.metadata["pages"] == 3
    assert sections_of(found) == [(1, "Income statement")]
    assert pages_of(found) == [
        "Income statement\n\n"
        "Revenue of the group rose by twelve percent over the year before, as all regions sold more. "
        "Costs fell."
        "\n\nItem 0 | 2021: 0.5 | 2020: 0.25\n"
        "Item 1 | 2021: 1.5 | 2020: 1.25\nItem 2 | 2021: 2.5 | 2020: 2.25",
        "Item 3 | 2021: 3.5 | 2020: 3.25\nItem 4 | 2021: 4.5 | 2020: 4.25\nItem 5 | 2021: 5.5 | 2020: 5.25"
        "\n\nThe table ends here.",
        "本公司二〇二一年的收入为十五亿元，比上年增长百分之十二。利润也增加了。",
    ]
    assert units_of(found) == [f"Item {n} | 2021: {n}.5 | 2020: {n}.25" for n in range(6)]


def test_table_without_rules(tmp_path: Path) -> None:
    rows = [
        ("", "2021", "2020"),
        ("Cash and equivalents", "1,234", "999"),
        ("Other assets:", "", ""),
        ("Land", "(5)", "12"),
    ]

    def draw(page: Any) -> None:
        prose(page, ["The figures are in millions of dollars as of the end."], 540)
        for number, row in enumerate(rows):
            for x, cell in zip((40, 220, 300), row, strict=True):
                page.drawString(x, 500 - 14 * number, cell)
        prose(page, ["They were checked by nobody but us, in the end."], 420)

    found = drawn(tmp_path, draw)
    assert units_of(found) == [
        "Cash and equivalents | 2021: 1,234 | 2020: 999",
        "Other assets:",
        "Land | 2021: (5) | 2020: 12",
    ]
    assert found.text.startswith("The figures are in millions")
    assert found.text.endswith("by nobody but us, in the end.")


def test_columns_of_prose_are_no_table(tmp_path: Path) -> None:
    lines = [
        "The quick brown fox jumps over",
        "a lazy dog while the infor-",
        "mation goes on and on to the",
        "end of it.",
    ]

    def draw(page: Any) -> None:
        prose(page, lines, 500)
        prose(page, lines, 500, x=220)

    found = drawn(tmp_path, draw)
    whole = "The quick brown fox jumps over a lazy dog while the information goes on and on to the end of it."
    assert found.text == f"{whole}\n\n{whole}"
    assert found.units == ()


def test_bullets_stay_apart_and_are_no_table(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        for number, text in enumerate(["First thing to do", "Second thing to do", "Third thing to do"]):
            page.drawString(40, 500 - 14 * number, f"{number + 1}.")
            page.drawString(80, 500 - 14 * number, text)

    found = drawn(tmp_path, draw)
    assert found.text.split("\n\n") == [
        "1. First thing to do",
        "2. Second thing to do",
        "3. Third thing to do",
    ]
    assert found.units == ()


def test_headings_by_size_and_weight_without_an_outline(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        page.setFont("Helvetica-Bold", 20)
        page.drawString(40, 540, "A title that is so long that it")
        page.drawString(40, 516, "goes on")
        page.setFont("Helvetica", 14)
        page.drawString(40, 480, "Part one")
        prose(page, ["Body text stands here and is longer than any heading is."] * 3, 455)
        page.setFont("Helvetica-Bold", 10)
        page.drawString(40, 400, "Small but bold")
        prose(page, ["More body text stands here, and it ends with a full stop."], 380)

    found = drawn(tmp_path, draw)
    assert [text for _, text in sections_of(found)][-2:] == ["Part one", "Small but bold"]
    assert [level for level, _ in sections_of(found)][-2:] == [2, 3]
    assert found.text.startswith("A title that is so long that it")


def test_outline_gives_levels_and_finds_numbered_titles(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        prose(page, ["7"], 570)
        for level, title in ((0, "Methods"), (1, "Data we used"), (1, "Not on the page")):
            page.bookmarkPage(title)
            page.addOutlineEntry(title, title, level)
        page.setFont("Helvetica", 10)
        page.drawString(40, 540, "2 Methods")
        prose(page, ["We did this and that, and then we did it all again."], 510)
        page.drawString(40, 470, "2.1 Data we used")
        prose(page, ["The data we used is our own."], 440)

    found = drawn(tmp_path, draw)
    assert sections_of(found) == [(1, "2 Methods"), (2, "2.1 Data we used")]


def test_a_sentence_over_a_page_break_is_whole(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        prose(page, ["This sentence begins on the first page of the two and it"], 100)
        page.showPage()
        prose(page, ["ends on the second. Then comes another."], 500)

    found = drawn(tmp_path, draw)
    assert found.text == (
        "This sentence begins on the first page of the two and it ends on the second. Then comes another."
    )
    assert found.pages == (0, found.text.index("ends on"))


def test_running_heads_are_kept_once(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        for number in range(1, 5):
            prose(page, ["ACME report"], 570)
            prose(
                page, [f"This is what page number {['one', 'two', 'three', 'four'][number - 1]} says."], 400
            )
            prose(page, [f"Page {number}"], 20)
            page.showPage()

    found = drawn(tmp_path, draw)
    assert found.text.count("ACME report") == 1
    assert found.text.count("Page ") == 1
    assert [page.count("This is what page") for page in pages_of(found)] == [1, 1, 1, 1]


def test_merged_cells_and_a_second_header_row(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        page.setFont("Helvetica", 10)
        for y in (500, 480, 460, 440):
            page.line(40, y, 300, y)
        for x in (40, 160, 300):
            page.line(x, 440, x, 500)
        page.line(230, 440, 230, 480)  # not through the first row: one cell over two columns
        for x, y, text in [
            (180, 485, "Year ended June"),
            (170, 465, "2021"),
            (240, 465, "2020"),
            (45, 445, "Revenue"),
            (170, 445, "1.5"),
            (240, 445, "1.2"),
        ]:
            page.drawString(x, y, text)

    found = drawn(tmp_path, draw)
    assert units_of(found) == ["Revenue | Year ended June 2021: 1.5 | Year ended June 2020: 1.2"]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_pages_read_as_shown(tmp_path: Path, rotation: int) -> None:
    def draw(page: Any) -> None:
        page.setPageRotation(rotation)
        page.translate(*{90: (420, 0), 180: (420, 595), 270: (0, 595)}[rotation])
        page.rotate(rotation)
        prose(page, ["An upright line of words that is", "not yet at its end."], 300)

    assert drawn(tmp_path, draw).text == "An upright line of words that is not yet at its end."


def test_text_at_an_angle_does_not_tear_lines(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        prose(page, ["Upright words."], 300)
        page.rotate(90)
        page.drawString(100, -20, "A stamp on its side")

    assert drawn(tmp_path, draw).text == "Upright words.\n\nA stamp on its side"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["an exam-", "ple"], "an example"),
        (["the years 2020-", "2021"], "the years 2020-2021"),
        (["by Smith-", "Jones"], "by Smith-Jones"),
        (["a dash -", "here"], "a dash - here"),
        (["中文。", "也行"], "中文。也行"),
        (["中文", "and"], "中文 and"),
        ([], ""),
    ],
)
def test_join_lines(lines: list[str], expected: str) -> None:
    assert join_lines(lines) == expected


def test_no_text_layer(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        page.rect(40, 40, 100, 100, fill=1)

    with pytest.raises(EmptyFileError, match="OCR"):
        drawn(tmp_path, draw)


def test_password(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf_bytes(password="secret"))
    with pytest.raises(EncryptedFileError, match=r"a\.pdf.*password"):
        extract(path)
    path.write_bytes(pdf_bytes(password="", owner="owner"))
    assert sections_of(extract_one(path)) == [(1, "Income statement")]


def test_damaged(tmp_path: Path) -> None:
    whole = pdf_bytes()
    path = tmp_path / "a.pdf"
    for data in (b"", b"plain text", whole[:100], whole[: len(whole) // 2], whole[:-30], b"%PDF-1.4\n%%EOF"):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=r"a\.pdf"):
            extract(path)


def test_ruled_boxes_around_prose_are_no_table(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        page.rect(30, 400, 360, 100)
        prose(page, ["A framed note goes over two lines, as notes of this", "kind do all the time."], 470)

    found = drawn(tmp_path, draw)
    assert found.text == "A framed note goes over two lines, as notes of this kind do all the time."
    assert found.units == ()


def test_a_table_whose_header_is_repeated_on_the_next_page(tmp_path: Path) -> None:
    def draw(page: Any) -> None:
        heading(page, "Items", "items", 560)
        grid(page, [["Name", "Price", "Year"], ["A", "1.5", "3"]], 500)
        page.showPage()
        grid(page, [["Name", "Price", "Year"], ["B", "2.5", "4"]], 560)

    found = drawn(tmp_path, draw)
    assert units_of(found) == ["Name: A | Price: 1.5 | Year: 3", "Name: B | Price: 2.5 | Year: 4"]
