"""PDF: paragraphs with their lines joined, tables as rows, headings, the offset of each page.

PDFium (Apache-2.0 and BSD, one wheel of 4 MB) gives the characters and their
boxes; layout and tables are ours (``pdflayout``, ``pdftables``).
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from indexing.errors import DamagedFileError, EmptyFileError, EncryptedFileError, ReadLimitError
from indexing.readers.metadata import scalars
from indexing.readers.pdfassembly import assemble
from indexing.readers.pdflayout import Line, lines_of
from indexing.readers.pdfmodel import Bookmark, Page
from indexing.readers.pdfpage import is_bold, load_page
from indexing.readers.pdftables import aligned_tables, ruled_tables
from indexing.readers.source import Source
from indexing.records import Extraction, Scalar

# PDFium keeps global state: two threads in it at once corrupt each other.
_PDFIUM = threading.Lock()
_TAIL_BYTES = 8192
_MAX_PAGES = 20_000
_MARGIN = 0.1  # of the page's height: where running heads and page numbers stand
_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?")


def read_pdf(source: Source) -> Iterator[Extraction]:
    """Yield the document, ``pages[i]`` where page ``i + 1`` begins.

    Raises:
        EncryptedFileError: it opens only with a password.
        DamagedFileError: not a PDF, or cut short.
        EmptyFileError: pictures of text; OCR is needed first.
    """
    data = source.read()
    if b"%PDF-" not in data[:1024]:
        raise DamagedFileError(f"{source.name} is not a PDF: it does not begin with %PDF-")
    if b"%%EOF" not in data[-_TAIL_BYTES:]:
        # PDFium would rebuild what is left and silently lose pages.
        raise DamagedFileError(f"{source.name} is cut short: the PDF's end mark is missing")
    with _PDFIUM:
        pages, bookmarks, fields = _load(data, source.name)
    if not any(page.lines or page.tables or page.aside for page in pages):
        raise EmptyFileError(f"{source.name} has no text layer (scanned pages?); run OCR on it first")
    _drop_running_heads(pages)
    title = str(fields.pop("title", ""))
    yield assemble(source.builder(), pages, bookmarks, title=title, metadata=fields)


def _load(data: bytes, name: str) -> tuple[list[Page], list[Bookmark], dict[str, Scalar]]:
    import pypdfium2
    from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY):
            raise EncryptedFileError(f"{name} is protected by a password; save it without one") from error
        raise DamagedFileError(f"{name} cannot be opened as a PDF: {error}") from error
    try:
        if len(document) > _MAX_PAGES:
            raise ReadLimitError(f"{name} claims {len(document)} pages, more than {_MAX_PAGES}")
        pages = [_page(document[number], name, number) for number in range(len(document))]
        return pages, _bookmarks(document), _fields(document)
    except pypdfium2.PdfiumError as error:
        raise DamagedFileError(f"{name} is damaged: {error}") from error
    finally:
        document.close()


def _page(page: Any, name: str, number: int) -> Page:
    text_page = page.get_textpage()
    try:
        content = load_page(page, text_page)
        tables, chars = ruled_tables(content)
        aligned, lines = aligned_tables(lines_of(chars))
        bold = {line.first for line in lines if len(line.text) <= 120 and is_bold(text_page, line.first)}
        ordered = sorted([*tables, *aligned], key=lambda table: table.first)
        return Page(content.height, lines, ordered, content.aside, bold)
    finally:
        text_page.close()
        page.close()


def _bookmarks(document: Any) -> list[Bookmark]:
    found: list[Bookmark] = []
    for entry in document.get_toc():
        target = entry.get_dest()
        page = target.get_index() if target is not None else None
        title = " ".join(entry.get_title().split())
        if title and page is not None and page >= 0:
            found.append(Bookmark(title, entry.level + 1, page))
    return found


def _fields(document: Any) -> dict[str, Scalar]:
    raw = document.get_metadata_dict(skip_empty=True)
    fields: dict[str, object] = {
        "title": raw.get("Title"),
        "author": raw.get("Author"),
        "subject": raw.get("Subject"),
        "keywords": raw.get("Keywords"),
        "pages": len(document),
    }
    match = _DATE.match(raw.get("CreationDate", ""))
    if match:
        fields["created"] = "-".join(part for part in match.groups() if part)
    return scalars(fields)


def _drop_running_heads(pages: list[Page]) -> None:
    """Keep a line that stands in the margin of most pages only where it is first seen."""
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update({_pattern(line) for line in page.lines if _in_margin(line, page)})
    usual = {text for text, count in counts.items() if count >= max(3, len(pages) / 2)}
    seen: set[str] = set()
    for page in pages:
        kept: list[Line] = []
        for line in page.lines:
            text = _pattern(line)
            if text not in usual or not _in_margin(line, page):
                kept.append(line)
            elif text not in seen:
                seen.add(text)
                kept.append(line)
        page.lines = kept


def _pattern(line: Line) -> str:
    return re.sub(r"\d+", "#", line.text).casefold()


def _in_margin(line: Line, page: Page) -> bool:
    return line.bottom > page.height * (1 - _MARGIN) or line.top < page.height * _MARGIN
