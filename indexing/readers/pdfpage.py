"""What PDFium knows of one page: characters with boxes, ruled lines. Nothing is interpreted here.

Coordinates are points with the origin at the lower left of the page as it is
shown (its rotation applied); ``top > bottom``.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_SOFT_HYPHENS = ("\x02", "\u00ad", "\ufffe")  # what PDFium makes of a hyphen at a line end
_MAX_RULE_POINTS = 40_000  # a map or a chart; tables have far fewer
_ROTATED_RAD = 0.2
_STRAIGHT = 1.0


@dataclass(slots=True)
class Char:
    """One visible character; ``spaced``: white space stood before it; ``index``: place in the content."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    index: int
    spaced: bool

    @property
    def size(self) -> float:
        return self.top - self.bottom


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal or vertical line: at ``place`` across, from ``low`` to ``high`` along."""

    place: float
    low: float
    high: float


@dataclass(slots=True)
class PageContent:
    """Everything read from one page; ``aside``: text that stands at an angle."""

    width: float
    height: float
    chars: list[Char] = field(default_factory=list)
    horizontal: list[Rule] = field(default_factory=list)
    vertical: list[Rule] = field(default_factory=list)
    aside: str = ""


Turn = Callable[[float, float], tuple[float, float]]


def load_page(page: Any, text_page: Any) -> PageContent:
    """Return the characters and rules of a page, and its text at other angles."""
    rotation = page.get_rotation()
    width, height = page.get_size()  # as shown
    turn = _turn(rotation, width, height)
    content = PageContent(width, height)
    _load_chars(content, text_page, turn, math.radians(rotation))
    _load_rules(content, page, turn)
    return content


def is_bold(text_page: Any, index: int) -> bool:
    """Whether a character's font is bold, by its weight or by its name."""
    import pypdfium2.raw as pdfium

    if pdfium.FPDFText_GetFontWeight(text_page, index) >= 600:
        return True
    buffer = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    length = pdfium.FPDFText_GetFontInfo(text_page, index, buffer, 128, ctypes.byref(flags))
    return 0 < length <= 128 and b"bold" in buffer.value.lower()


def _turn(rotation: int, width: float, height: float) -> Turn:
    if rotation == 90:
        return lambda x, y: (y, height - x)
    if rotation == 180:
        return lambda x, y: (width - x, height - y)
    if rotation == 270:
        return lambda x, y: (width - y, x)
    return lambda x, y: (x, y)


def _load_chars(content: PageContent, text_page: Any, turn: Turn, expected_angle: float) -> None:
    import pypdfium2.raw as pdfium

    box = pdfium.FS_RECTF()
    pointer = ctypes.byref(box)
    aside: list[str] = []
    spaced = False
    previous_bottom = math.inf
    angled = False
    for index in range(text_page.count_chars()):
        code = pdfium.FPDFText_GetUnicode(text_page, index)
        if code in (0, 9, 10, 13, 32, 0xA0, 0x3000):
            spaced = True
            continue
        if not pdfium.FPDFText_GetLooseCharBox(text_page, index, pointer):
            continue
        text = _character(code)
        if box.bottom != previous_bottom or angled:
            # One look at the angle per line: upright text keeps its baseline.
            angle = pdfium.FPDFText_GetCharAngle(text_page, index)
            off = abs(math.remainder(angle - expected_angle, 2 * math.pi))
            angled = angle >= 0 and off > _ROTATED_RAD  # negative: not known
            previous_bottom = box.bottom
        if angled:
            aside.append(" " + text if spaced else text)
        else:
            x0, y0 = turn(box.left, box.bottom)
            x1, y1 = turn(box.right, box.top)
            content.chars.append(
                Char(text, min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), index, spaced)
            )
        spaced = False
    content.aside = "".join(aside).strip()


def _character(code: int) -> str:
    text = chr(code) if code < 0x110000 else "\ufffd"
    return "-" if text in _SOFT_HYPHENS else text


def _load_rules(content: PageContent, page: Any, turn: Turn) -> None:
    import pypdfium2.raw as pdfium

    seen = 0
    for item in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_PATH], max_depth=1):
        count = pdfium.FPDFPath_CountSegments(item)
        seen += max(0, count)
        if seen > _MAX_RULE_POINTS:
            content.horizontal.clear()
            content.vertical.clear()
            return
        for (x0, y0), (x1, y1) in _edges(item, count, turn):
            if abs(y1 - y0) <= _STRAIGHT < abs(x1 - x0):
                content.horizontal.append(Rule((y0 + y1) / 2, min(x0, x1), max(x0, x1)))
            elif abs(x1 - x0) <= _STRAIGHT < abs(y1 - y0):
                content.vertical.append(Rule((x0 + x1) / 2, min(y0, y1), max(y0, y1)))


Point = tuple[float, float]


def _edges(item: Any, count: int, turn: Turn) -> Iterator[tuple[Point, Point]]:
    """The straight edges of one path, in page coordinates."""
    import pypdfium2.raw as pdfium

    matrix = item.get_matrix()
    x, y = ctypes.c_float(), ctypes.c_float()
    start = current = None
    for number in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(item, number)
        if not segment or not pdfium.FPDFPathSegment_GetPoint(segment, ctypes.byref(x), ctypes.byref(y)):
            continue
        kind = pdfium.FPDFPathSegment_GetType(segment)
        point = turn(*matrix.on_point(x.value, y.value))
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == pdfium.FPDF_SEGMENT_LINETO and current is not None:
            yield current, point
        current = point
        if pdfium.FPDFPathSegment_GetClose(segment) and start is not None:
            yield current, start
            current = start
