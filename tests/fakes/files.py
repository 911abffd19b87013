"""Small real files of every format, built on the fly."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from pathlib import Path

from indexing.readers import read_file
from indexing.records import Extraction

MAX_BYTES = 20_000_000


def extract(path: Path, *, max_bytes: int = MAX_BYTES) -> list[Extraction]:
    """Read a file and check what must hold for every document of every format."""
    found = list(read_file(path, max_bytes=max_bytes))
    for extraction in found:
        check(extraction)
    return found


def extract_one(path: Path) -> Extraction:
    found = extract(path)
    assert len(found) == 1
    return found[0]


def read(tmp_path: Path, name: str, data: bytes) -> Extraction:
    """The one document of a file with these bytes."""
    path = tmp_path / name
    path.write_bytes(data)
    return extract_one(path)


def check(extraction: Extraction) -> None:
    text = extraction.text
    text.encode("utf-8")  # no lone surrogates
    offsets = [heading.offset for heading in extraction.headings]
    assert offsets == sorted(set(offsets))
    for heading in extraction.headings:
        assert heading.level >= 1
        assert heading.text.strip()
        assert text[heading.offset : heading.offset + len(heading.text)] == heading.text
    end = 0
    for start, stop in extraction.units:
        assert end <= start < stop <= len(text)
        assert text[start:stop].strip()
        end = stop
    assert list(extraction.pages) == sorted(extraction.pages)
    assert all(0 <= page <= len(text) for page in extraction.pages)
    assert all(isinstance(value, str | int | float | bool) for value in extraction.metadata.values())


def units_of(extraction: Extraction) -> list[str]:
    return [extraction.text[start:end] for start, end in extraction.units]


def sections_of(extraction: Extraction) -> list[tuple[int, str]]:
    return [(heading.level, heading.text) for heading in extraction.headings]


TABLE = [["", "2021", "2020"], ["Revenue", "1.5", "1.2"], ["Costs", "1.0", "0.9"]]
TABLE_LINES = ["Revenue | 2021: 1.5 | 2020: 1.2", "Costs | 2021: 1.0 | 2020: 0.9"]


def docx_bytes() -> bytes:
    import docx

    document = docx.Document()
    document.core_properties.title = "Annual report"
    document.core_properties.author = "A. Writer"
    document.add_heading("Annual report 2021", 0)
    document.add_heading("Income statement", 2)
    document.add_paragraph("Revenue rose. Costs fell.")
    _fill(document.add_table(rows=3, cols=3), TABLE)
    document.add_paragraph("After the table.")
    return saved(document.save)


def _fill(table: object, rows: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            table.cell(number, column).text = text  # type: ignore[attr-defined]


def pptx_bytes() -> bytes:
    import pptx

    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Goals"
    first.placeholders[1].text = "Grow in Asia.\nCut waste."
    first.notes_slide.notes_text_frame.text = "Pause here."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Figures"
    _fill(second.shapes.add_table(3, 3, 0, 0, 999999, 999999).table, TABLE)
    return saved(deck.save)


def xlsx_bytes() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Income"
    for row in (["", 2021, 2020], ["Revenue", 1.5, 1.25], ["Costs", 1, 0.1 + 0.2]):
        sheet.append(row)
    other = book.create_sheet("Staff")
    other.append(["Name", "Joined"])
    other.append(["Bo", __import__("datetime").date(2020, 5, 1)])
    return saved(book.save)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def epub_bytes(chapters: Sequence[str] | None = None, extra: dict[str, str] | None = None) -> bytes:
    pages = chapters or [
        "<html><body><h1>One</h1><p>It began in May.</p></body></html>",
        "<html><body><h1>Two</h1><p>It ended in June.</p>"
        "<table><tr><th></th><th>2021</th></tr><tr><td>Rain</td><td>7</td></tr></table></body></html>",
    ]
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(pages))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(pages))))
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The book</dc:title>'
        "<dc:creator>A. Writer</dc:creator></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        **{f"OPS/text/c {n}.xhtml": page for n, page in enumerate(pages)},
        **(extra or {}),
    }
    return zip_bytes(members)


def zip_bytes(members: dict[str, str | bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return stream.getvalue()


def replace_member(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = change(members[name])
    return zip_bytes(members)  # type: ignore[arg-type]


def eml_bytes(attachment: bytes = b"\x00\x01binary\xff" * 50) -> bytes:
    message = EmailMessage()
    message["From"] = "Ann <ann@example.org>"
    message["To"] = "bo@example.org"
    message["Subject"] = "Über den Bericht 报告"
    message["Date"] = "Mon, 01 Jan 2024 10:00:00 +0100"
    message.set_content("Dear Bo,\n\nthe report is late. Sorry.\n")
    message.add_alternative("<p>Only in <b>HTML</b></p>", subtype="html")
    message.add_attachment(attachment, maintype="application", subtype="pdf", filename="report.pdf")
    return message.as_bytes()


def pdf_bytes(password: str | None = None, owner: str | None = None) -> bytes:
    """Three pages: prose and a ruled table over two of them, then a page of Chinese."""
    from reportlab.lib.pagesizes import A5
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen import canvas

    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))  # not embedded: no font file is needed
    stream = io.BytesIO()
    encrypt = None
    if password is not None:
        encrypt = StandardEncryption(password, ownerPassword=owner, strength=128)
    page = canvas.Canvas(stream, pagesize=A5, encrypt=encrypt)
    page.setTitle("Annual report")
    page.setAuthor("A. Writer")
    heading(page, "Income statement", "income", 540)
    prose(page, ["Revenue of the group rose by twelve percent over the", "year before, as all reg-"], 515)
    prose(page, ["ions sold more. Costs fell."], 491)
    grid(page, [["", "2021", "2020"], *([f"Item {n}", f"{n}.5", f"{n}.25"] for n in range(3))], 460)
    page.showPage()
    grid(page, [[f"Item {n}", f"{n}.5", f"{n}.25"] for n in range(3, 6)], 560)
    prose(page, ["The table ends here."], 480)
    page.showPage()
    page.setFont("STSong-Light", 11)
    for number, line in enumerate(
        ["本公司二〇二一年的收入为十五亿元，比上", "年增长百分之十二。利润也增加了。"]
    ):
        page.drawString(40, 540 - 16 * number, line)
    page.showPage()
    page.save()
    return stream.getvalue()


def heading(page: object, text: str, key: str, y: float, size: float = 16, level: int = 0) -> None:
    page.bookmarkPage(key)  # type: ignore[attr-defined]
    page.addOutlineEntry(text, key, level)  # type: ignore[attr-defined]
    page.setFont("Helvetica-Bold", size)  # type: ignore[attr-defined]
    page.drawString(40, y, text)  # type: ignore[attr-defined]


def prose(page: object, lines: Sequence[str], y: float, x: float = 40) -> None:
    page.setFont("Helvetica", 10)  # type: ignore[attr-defined]
    for number, line in enumerate(lines):
        page.drawString(x, y - 12 * number, line)  # type: ignore[attr-defined]


def grid(
    page: object, rows: Sequence[Sequence[str]], top: float, widths: Sequence[float] = (120, 60, 60)
) -> None:
    """A table with all its rules drawn."""
    xs = [40 + sum(widths[:n]) for n in range(len(widths) + 1)]
    page.grid(xs, [top - 18 * n for n in range(len(rows) + 1)])  # type: ignore[attr-defined]
    page.setFont("Helvetica", 10)  # type: ignore[attr-defined]
    for number, row in enumerate(rows):
        for x, cell in zip(xs, row, strict=False):
            page.drawString(x + 3, top - 18 * number - 13, cell)  # type: ignore[attr-defined]


HTML = (
    "<!doctype html><html lang=en><head><title>A page</title><style>p{}</style><script>no()</script></head>"
    "<body><nav>Menu</nav><h1>Report <b>2021</b></h1><p>Revenue<br>rose. See <code>f(x)</code>.</p>"
    "<h2>Income</h2><table><thead><tr><th></th><th colspan=2>Year</th></tr>"
    "<tr><th></th><th>2021</th><th>2020</th></tr></thead>"
    "<tr><td>Revenue</td><td>1.5</td><td>1.2</td></tr></table>"
    "<pre>if x:\n    go()</pre>tail text<div>last</div></body></html>"
)
MARKDOWN = (
    "---\ntitle: The report\ntags: [a, b]\n---\n# Report 2021\n\nRevenue rose.\n\nIncome\n------\n\n"
    "```py\n# no heading\n\nx = 1\n```\n\n$$\nE = mc^2\n$$\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)
SAMPLES: dict[str, Callable[[], bytes]] = {
    ".txt": lambda: "Plain text. 中文。\n".encode(),
    ".md": MARKDOWN.encode,
    ".rst": lambda: b"=====\nTitle\n=====\n\nIntro::\n\n    code\n\nPart\n----\n\nText.\n",
    ".tex": lambda: b"\\title{T}\n\\section{One}\nText $x$.\n\\subsection{Two}\n",
    ".py": lambda: b"import os\n\n\ndef f():\n    return 1\n",
    ".html": HTML.encode,
    ".csv": lambda: b'name;price\n"a; b";1,50\nc;2,00\n',
    ".tsv": lambda: b"name\tprice\na\t1\nb\t2\n",
    ".json": lambda: json.dumps({"server": {"ports": [80, 81]}, "rows": [{"a": 1, "b": "z"}]}).encode(),
    ".jsonl": lambda: b'{"_id": "1", "title": "T", "text": "One."}\n{"text": "Two."}\n',
    ".docx": docx_bytes,
    ".pptx": pptx_bytes,
    ".xlsx": xlsx_bytes,
    ".epub": epub_bytes,
    ".eml": eml_bytes,
    ".pdf": pdf_bytes,
}
