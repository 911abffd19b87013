"""Markdown structure over the untouched source: headings, code, formulas, table rows."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from indexing.readers.builder import one_line
from indexing.records import Heading, Scalar

Span = tuple[int, int]

_FRONT = re.compile(r"\A---[^\S\n]*\n(.*?)^(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_MAX_FRONT_CHARS = 64 << 10
_FORMULA = re.compile(r"\$\$(?!\$).{1,20000}?\$\$", re.DOTALL)
_DELIMITER_ROW = re.compile(r"[\s|:\-]+")


def front_matter(text: str) -> tuple[int, dict[str, Scalar]]:
    """Return where the body begins and the fields of a YAML front matter.

    Front matter that is not a YAML mapping is ordinary text: ``(0, {})``.
    """
    match = _FRONT.match(text[:_MAX_FRONT_CHARS])
    if match is None:
        return 0, {}
    import yaml

    from indexing.readers.metadata import scalars

    try:
        fields = yaml.safe_load(match.group(1))
    except (yaml.YAMLError, ValueError, RecursionError):
        return 0, {}
    if not isinstance(fields, dict):
        return 0, {}
    return match.end(), scalars(fields)


def structure(text: str, begin: int = 0) -> tuple[list[Heading], list[Span]]:
    """Return headings and units of the Markdown in ``text[begin:]``, offsets into ``text``.

    Headings are ATX and setext as CommonMark finds them (none inside code);
    units are code blocks, ``$$`` formulas and the rows of GFM tables.
    """
    from markdown_it import MarkdownIt

    # Blocks are all that is needed; the inline pass costs nine tenths of the time.
    parser = MarkdownIt("commonmark", {"maxNesting": 50}).enable("table").disable("inline")
    tokens = parser.parse(text[begin:])
    starts = _line_starts(text, begin)
    headings: list[Heading] = []
    blocks: list[Span] = []
    reach = 0
    for index, token in enumerate(tokens):
        if token.map is None or token.map[1] <= reach:
            continue
        first, last = token.map
        if token.type == "heading_open":
            heading = _heading(
                text, starts[first], starts[last], int(token.tag[1]), tokens[index + 1].content
            )
            if heading is not None:
                headings.append(heading)
        elif token.type in ("fence", "code_block"):
            blocks.append((starts[first], starts[last]))
        elif token.type == "table_open":
            blocks.extend(
                (starts[line], starts[line + 1]) for line in _table_lines(text, starts, first, last)
            )
        else:
            continue
        reach = last
    code = [span for block in blocks if (span := _trim(text, block)) is not None]
    return headings, merge_units(code, formulas(text, begin))


def formulas(text: str, begin: int = 0) -> list[Span]:
    """Return the spans of ``$$ ... $$`` formulas that fill whole lines."""
    found = []
    for match in _FORMULA.finditer(text, begin):
        start, end = match.span()
        # A window, or a file that is one line of formulas takes quadratic time.
        before = text[max(0, start - 80) : start].rpartition("\n")
        after = text[end : end + 80].partition("\n")
        if not before[2].strip() and not after[0].strip():
            found.append((start, end))
    return found


def merge_units(first: Sequence[Span], second: Sequence[Span]) -> list[Span]:
    """Return both lists as one, ascending and disjoint; the first list wins."""
    ordered = sorted(first)
    starts = [start for start, _ in ordered]
    kept = list(ordered)
    for start, end in second:
        place = bisect_right(starts, start)
        free_before = place == 0 or ordered[place - 1][1] <= start
        free_after = place == len(ordered) or end <= ordered[place][0]
        if free_before and free_after:
            kept.append((start, end))
    return sorted(kept)


def _line_starts(text: str, begin: int) -> list[int]:
    starts = [begin]
    newline = text.find("\n", begin)
    while newline >= 0:
        starts.append(newline + 1)
        newline = text.find("\n", newline + 1)
    if starts[-1] != len(text):
        starts.append(len(text))
    return starts


def _heading(text: str, start: int, end: int, level: int, content: str) -> Heading | None:
    """The heading's words as they stand in the source, markup around them left out."""
    line_end = text.find("\n", start, end)
    line_end = end if line_end < 0 else line_end
    if not content.strip():
        return None
    first = content.split("\n", 1)[0].strip()
    offset = text.find(first, start, end)  # inside a quote or list the line has a prefix
    if offset < 0:
        offset, first = start, text[start:line_end].strip()
        offset = text.find(first, start, end)
    return Heading(offset, level, first) if first else None


def _table_lines(text: str, starts: Sequence[int], first: int, last: int) -> Iterator[int]:
    for line in range(first, min(last, len(starts) - 1)):
        body = text[starts[line] : starts[line + 1]]
        if body.strip() and not (_DELIMITER_ROW.fullmatch(body) and "-" in body):
            yield line


def _trim(text: str, span: Span) -> Span | None:
    start, end = span
    body = text[start:end].rstrip()
    lead = len(body) - len(body.lstrip("\n"))
    return (start + lead, start + len(body)) if body.strip() else None


def plain(text: str) -> str:
    """Return a heading without emphasis, code and link markup: a title for people.

    >>> plain("The `map` *function*, see [here](x.md)")
    'The map function, see here'
    """
    text = re.sub(r"!?\[([^\]]{0,300})\]\([^)]{0,1000}\)", r"\1", text)
    return one_line(re.sub(r"[*`]+|(?<!\w)_+|_+(?!\w)", "", text))
