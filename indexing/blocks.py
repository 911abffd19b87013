"""Where a sentence must end (hard breaks), and spans that none may end inside.

Lines that are something of their own (blank lines, headings, list items, table
rows, rules) break the text whatever its punctuation says; code and formulas
are atomic.  Every pattern here is anchored at a line start or bounded in
length, so the whole pass is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from indexing.records import Heading

Span = tuple[int, int]

# A formula or an environment longer than this is taken for a stray delimiter.
_MAX_FORMULA = 20_000

# One alternative per kind of line; possessive quantifiers keep it linear.
_LINE = re.compile(
    r"""(?mx)^[^\S\n]*+(?:
        (?P<blank>$(?:\n[^\S\n]*+$)*+)                       # one or more blank lines
      | (?P<rule>([-=*_~^+#.])\3{2,}+[^\S\n]*+$)          # underline or thematic break
      | (?P<atx>\#{1,6}[^\S\n])                            # markdown heading
      | (?P<bullet>[•‣▪▫◦●○■□◆◇►▶➢✓①-⑳⑴-⒇]|[-*+–—·][^\S\n]++\S)
      | (?P<item>[(（\[]?(?:(?P<number>[0-9]{1,3})
                        |(?P<letter>[a-zA-Z]|[ivx]{2,5}|[一二三四五六七八九十]{1,3}))[)）\]]
                |(?P<count>[0-9]{1,3})(?:\.[0-9]{1,3}){0,3}+(?:\.(?=[^\S\n])|[、．])
                |(?P<han>[一二三四五六七八九十]{1,3})、
                |第(?P<article>[0-9一二三四五六七八九十百]{1,5})[章节節条條款部篇回])
      )""",
)
_KINDS = ("blank", "rule", "atx", "bullet", "item")
_ROW = re.compile(r"(?m)^[^\S\n]*+(\|[^\n]*\|)[^\S\n]*$")  # markdown table row
_INLINE_FORMULA = re.compile(r"(?<![\\$])\$(?![\s$])(?:[^$\n\\]|\\.){1,300}+(?<!\s)\$(?![\d$])")
_CLOSING = {"[": "\\]", "(": "\\)"}
_OPENING = re.compile(r"\\begin\{([a-zA-Z]{1,30}\*?)\}|\\([\[(])")
_FENCE = re.compile(r"(?m)^[^\S\n]{0,12}+(`{3,20}+|~{3,20}+)")
_PLAIN_URL = re.compile(r"(?:https?|ftp|file)://[!-~]{1,2000}+")
_IMAGE = re.compile(r"!\[[^\]\n]{0,300}+\]\([^()\n]{1,2000}+\)")  # Markdown
_FIRST = frozenset(("1", "a", "A", "i", "一"))
_REFERENCES = ("fig.", "figs.", "no.", "eq.", "eqs.", "sec.", "vol.", "ch.", "p.", "pp.", "tab.")
_STOPS = ".!?。！？；;:：…"


def atomic_spans(text: str, units: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Return ``(blocks, inside)``: spans that are sentences, and spans kept within one.

    A unit, a fenced code block or a displayed formula that fills whole lines
    is a sentence of its own; one that shares a line with other words stays
    inside that sentence.  Both lists are ascending and disjoint.
    """
    found = [(start, end, True) for start, end in units if start < end]
    found += [(start, end, True) for start, end in _fences(text)]
    found += _formulas(text)
    if "|" in text:
        found += [(*match.span(1), True) for match in _ROW.finditer(text)]
    if "://" in text:
        found += [(*_without_closing_stop(text, *match.span()), False) for match in _PLAIN_URL.finditer(text)]
    if "![" in text:
        found += [(*match.span(), False) for match in _IMAGE.finditer(text)]
    blocks: list[Span] = []
    inside: list[Span] = []
    reach = 0
    for start, end, whole in sorted(found, key=lambda item: (item[0], -item[1])):
        if start < reach:  # overlaps one that began earlier: that one stands
            continue
        reach = end
        if whole and _fills_lines(text, start, end):
            blocks.append((start, end))
        else:
            inside.append((start, end))
    return blocks, inside


def _without_closing_stop(text: str, start: int, end: int) -> Span:
    """A URL's span without the punctuation that ends the sentence around it."""
    return start, start + len(text[start:end].rstrip(".,;:!?)\"'>]"))


def _fills_lines(text: str, start: int, end: int) -> bool:
    """Whether only white space shares its lines; a line's indent is sought 200 characters far."""
    before = text[max(0, start - 200) : start].rpartition("\n")[2]
    after = text[end : end + 200].partition("\n")[0]
    return not before.strip() and not after.strip()


def _fences(text: str) -> Iterator[Span]:
    """Fenced code, both fences included.

    A fence that is never closed is not one: a stray row of marks must not turn
    the rest of a book into code.  Neither is a row of ``~`` under a line of
    text, which is how reStructuredText underlines a heading.
    """
    if "```" not in text and "~~~" not in text:
        return
    opened: tuple[int, str] | None = None
    for match in _FENCE.finditer(text):
        mark = match.group(1)
        if opened is None:
            if not (mark[0] == "~" and _underlines(text, match)):
                opened = (match.start(1), mark)
        elif mark[0] == opened[1][0] and len(mark) >= len(opened[1]):
            yield opened[0], match.end()
            opened = None


def _underlines(text: str, match: re.Match[str]) -> bool:
    """Whether a row of marks fills its line and stands right under a line of text."""
    after = text[match.end() : match.end() + 200].partition("\n")[0]
    above = text[max(0, match.start() - 200) : match.start()].removesuffix("\n").rpartition("\n")[2]
    return not after.strip() and bool(above.strip())


def _formulas(text: str) -> list[tuple[int, int, bool]]:
    r"""LaTeX: ``\begin..\end``, ``\[..\]``, ``\(..\)``, ``$$..$$``, ``$..$``."""
    found: list[tuple[int, int, bool]] = []
    if "\\" in text:
        found += _backslash_formulas(text)
    if "$" in text:
        start = text.find("$$")
        while start >= 0:
            end = text.find("$$", start + 2, start + _MAX_FORMULA)
            if end < 0:
                break
            found.append((start, end + 2, True))
            start = text.find("$$", end + 2)
        found += [(*match.span(), False) for match in _INLINE_FORMULA.finditer(text)]
    return found


def _backslash_formulas(text: str) -> Iterator[tuple[int, int, bool]]:
    known: dict[str, int] = {}  # closing delimiter -> its next place; -1: there is none
    position = 0
    while match := _OPENING.search(text, position):
        name, bracket = match.groups()
        closing = f"\\end{{{name}}}" if name else _CLOSING[bracket]
        position = match.end()
        end = known.get(closing, 0)
        if 0 <= end < position:
            end = known[closing] = text.find(closing, position, None if bracket else position + _MAX_FORMULA)
        if position <= end <= position + _MAX_FORMULA:
            position = end + len(closing)
            yield match.start(), position, bracket != "("
        elif end < 0 and not bracket:
            del known[closing]  # searched only so far


def hard_breaks(
    text: str, blocks: Sequence[Span], headings: Sequence[Heading], pages: Sequence[int]
) -> set[int]:
    """Return the offsets that no sentence may cross (the caller drops those in atomic spans)."""
    breaks: set[int] = set()
    for span in blocks:
        breaks.update(span)
    for heading in headings:
        breaks.update(heading_span(text, heading))
    item = -1  # where the last item began
    expected = ""
    for match in _LINE.finditer(text):
        start, kind = match.start(), _kind(match)
        if kind == "rule":  # belongs to the line above it, as its underline
            breaks.add(match.end())
        elif kind == "atx":
            breaks.update((start, _line_end(text, match.end())))
        elif kind == "item":
            marker = next(filter(None, match.group("number", "letter", "count", "han", "article")))
            follows = item >= 0 and text.rfind("\n", item, start - 1) < 0
            if follows or marker in _FIRST or marker == expected or _may_open_item(text, start):
                breaks.add(start)
                item = start
                expected = str(int(marker) + 1) if marker.isdecimal() else ""
        else:
            breaks.add(start)
    for page in pages:
        if 0 < page < len(text) and not _continues(text, page):
            breaks.add(page)
    form_feed = text.find("\f")
    while form_feed >= 0:
        breaks.add(form_feed)
        form_feed = text.find("\f", form_feed + 1)
    return breaks


def _kind(match: re.Match[str]) -> str:
    return next(name for name in _KINDS if match.group(name) is not None)


def heading_span(text: str, heading: Heading) -> Span:
    """Return the lines a heading occupies, its markup included."""
    start = text.rfind("\n", 0, heading.offset) + 1
    end = heading.offset
    if text.startswith(heading.text, heading.offset):
        end += len(heading.text)
    return start, _line_end(text, end)


def _line_end(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline


def _may_open_item(text: str, start: int) -> bool:
    """Whether a numbered line can be an item rather than go on with the line above.

    "... see Fig.\\n3. It ..." is wrapped prose; an item follows a blank line, a
    finished sentence or a colon (or has the number that comes next).
    """
    above = text[max(0, start - 80) : start].rstrip(" \t\r")
    line = above[:-1].rstrip(" \t\r")
    return not line or (line[-1] in _STOPS + "\n" and not line.lower().endswith(_REFERENCES))


def _continues(text: str, page: int) -> bool:
    """Whether the sentence before a page boundary goes on after it."""
    before = text[max(0, page - 80) : page].rstrip()
    after = text[page : page + 80].lstrip()
    if not before or not after or before[-1] in _STOPS:
        return False
    if after[0].islower():
        return True
    return before[-1] in ",，、" or ("\u4e00" <= before[-1] <= "\u9fff" and "\u4e00" <= after[0] <= "\u9fff")
