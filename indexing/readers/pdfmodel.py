"""What a PDF holds once its layout is known, before it is one text."""

from __future__ import annotations

from dataclasses import dataclass, field

from indexing.readers.pdflayout import Line
from indexing.readers.pdftables import Table


@dataclass(slots=True)
class Page:
    """A page after layout: lines and tables in reading order, apart."""

    height: float
    lines: list[Line]
    tables: list[Table]
    aside: str = ""
    bold: set[int] = field(default_factory=set)  # places of the lines whose font is bold


@dataclass(frozen=True, slots=True)
class Bookmark:
    """One entry of the outline; ``page`` counts from 0."""

    title: str
    level: int
    page: int
