"""Extracted text as it grows, with the exact offsets of what was put in."""

from __future__ import annotations

import re
import sys
from typing import Literal

from indexing.errors import ReadLimitError
from indexing.records import Extraction, Heading, Metadata

Gap = Literal["\n\n", "\n", " ", ""]

_SPACE = re.compile(r"\s+")
# NUL and lone surrogates (a JSON string may hold both) can be stored by no
# database; the other control characters mean nothing in text.
_UNSTORABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text with ``\\n`` newlines and without characters that cannot be stored.

    >>> clean("a\\r\\nb\\x00c")
    'a\\nb\\ufffdc'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSTORABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return the text with every run of white space as one space, ends stripped."""
    return _SPACE.sub(" ", text).strip()


class TextBuilder:
    """Blocks in reading order, a blank line between them.

    Headings and units are recorded where they are written, so
    ``text[offset:offset + len(heading.text)] == heading.text`` holds by
    construction, and units ascend and are disjoint.

    Args:
        name: of the file, for messages.
        limit: most characters; repeated headers or spans of a small hostile
            file can unfold to more than memory holds.
    """

    def __init__(self, name: str = "the document", limit: int = sys.maxsize) -> None:
        self._name = name
        self._limit = limit
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []
        self._pages: list[int] = []
        self._units: list[tuple[int, int]] = []
        self._page_waits = False
        self._after_row = False

    @property
    def headings(self) -> int:
        """How many headings have been written."""
        return len(self._headings)

    def paragraph(self, text: str, *, gap: Gap = "\n\n") -> None:
        """Write a block; ``gap`` is what separates it from the one before."""
        body = clean(text).strip()
        if body:
            self._write(body, gap)

    def unit(self, text: str) -> None:
        """Write a block that the sentence splitter keeps whole (code, a formula)."""
        body = clean(text).strip("\n").rstrip()
        if body.strip():
            start = self._write(body, "\n\n")
            self._units.append((start, start + len(body)))

    def row(self, text: str) -> None:
        """Write one table row: a unit on a line of its own, under the row before."""
        body = clean(one_line(text))
        if body:
            start = self._write(body, "\n" if self._after_row else "\n\n")
            self._units.append((start, start + len(body)))
            self._after_row = True

    def heading(self, text: str, level: int) -> None:
        """Write a heading on a line of its own; ``level`` 1 is the outermost."""
        body = clean(one_line(text))
        if body:
            start = self._write(body, "\n\n")
            self._headings.append(Heading(start, level, body))

    def end_rows(self) -> None:
        """Close a table: the next row begins a new one."""
        self._after_row = False

    def page(self) -> None:
        """Begin a page at whatever is written next."""
        if self._page_waits:
            self._pages.append(self._length)
        self._page_waits = True

    def build(
        self, *, title: str = "", metadata: Metadata | None = None, doc_id: str | None = None
    ) -> Extraction:
        """Return everything written so far as one document."""
        if self._page_waits:
            self._pages.append(self._length)
            self._page_waits = False
        return Extraction(
            text="".join(self._parts),
            title=clean(one_line(title)),
            doc_id=doc_id,
            headings=tuple(self._headings),
            pages=tuple(self._pages),
            units=tuple(self._units),
            metadata=metadata or {},
        )

    def _write(self, body: str, gap: str) -> int:
        self._after_row = False
        if self._parts:
            self._parts.append(gap)
            self._length += len(gap)
        if self._page_waits:
            self._pages.append(self._length)
            self._page_waits = False
        start = self._length
        self._parts.append(body)
        self._length += len(body)
        if self._length > self._limit:
            raise ReadLimitError(
                f"{self._name} unfolds to more than {self._limit / 1e6:.0f} million characters; raise "
                "indexing.max_file_mb (WINNOW_INDEXING__MAX_FILE_MB) to read it"
            )
        return start
