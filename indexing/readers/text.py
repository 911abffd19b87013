"""Plain text, Markdown, reStructuredText, LaTeX, source code: the file's own text, untouched."""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexing.readers import markdown
from indexing.readers.encodings import decode
from indexing.readers.source import Source
from indexing.records import Extraction, Heading, Scalar

Span = tuple[int, int]

_LINE = re.compile(r"[^\n]+")
_RST_RULE = re.compile(r"([=\-~^\"'`#*+:._<>])\1{2,}[^\S\n]*")
_RST_DIRECTIVE = re.compile(r"\.\.[^\S\n]+(?:code|code-block|sourcecode|math|parsed-literal)::")
_PARAGRAPH = re.compile(r"\S[^\n]*(?:\n(?![^\S\n]*(?:\n|\Z))[^\n]*)*")
_TEX_HEADING = re.compile(
    r"\\(part|chapter|section|subsection|subsubsection|paragraph)\*?\{([^{}\n]{1,300})\}"
)
_TEX_LEVELS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph")


def read_text(source: Source) -> Iterator[Extraction]:
    """Yield a plain text file; ``$$`` formulas are units, nothing else is guessed."""
    text = decode(source.read(), source.name)
    yield Extraction(text=text, units=tuple(markdown.formulas(text)))


def read_markdown(source: Source) -> Iterator[Extraction]:
    """Yield a Markdown file; front matter is one unit, its fields are metadata.

    The title is the front matter's, else the first heading of level 1 when
    nothing stands above it.
    """
    text = decode(source.read(), source.name)
    begin, fields = markdown.front_matter(text)
    headings, units = markdown.structure(text, begin)
    if begin:
        units = [(0, len(text[:begin].rstrip())), *units]
    title = str(fields.pop("title", ""))
    if not title and headings and headings[0].level == 1:
        title = markdown.plain(headings[0].text)
    yield Extraction(text, title, headings=tuple(headings), units=tuple(units), metadata=fields)


def read_rst(source: Source) -> Iterator[Extraction]:
    """Yield a reStructuredText file: underlined headings, literal blocks as units."""
    text = decode(source.read(), source.name)
    headings = tuple(_rst_headings(text))
    title = headings[0].text if headings and headings[0].level == 1 else ""
    yield Extraction(text, title, headings=headings, units=tuple(_rst_literals(text)))


def read_tex(source: Source) -> Iterator[Extraction]:
    """Yield a LaTeX file: sectioning commands are headings; formulas are the splitter's."""
    text = decode(source.read(), source.name)
    found = [
        (match.start(2), _TEX_LEVELS.index(match.group(1)), match.group(2))
        for match in _TEX_HEADING.finditer(text)
        if match.group(2).strip()
    ]
    top = min((level for _, level, _ in found), default=0)
    headings = tuple(Heading(offset, level - top + 1, name) for offset, level, name in found)
    title = re.search(r"\\title\{([^{}]{1,300})\}", text)
    yield Extraction(
        text,
        " ".join(title.group(1).split()) if title else "",
        headings=headings,
        units=tuple(markdown.formulas(text)),
    )


def read_code(source: Source) -> Iterator[Extraction]:
    """Yield source code or configuration: each run of lines without a blank one is a unit."""
    text = decode(source.read(), source.name)
    units = tuple(
        (match.start(), len(match.group().rstrip()) + match.start()) for match in _PARAGRAPH.finditer(text)
    )
    metadata: dict[str, Scalar] = {"language": source.suffix.lstrip(".")}
    yield Extraction(text, units=units, metadata=metadata)


def _rst_headings(text: str) -> Iterator[Heading]:
    """Underlined (and over- and underlined) titles; levels in order of first use, as docutils does."""
    styles: list[tuple[str, bool]] = []
    lines = [(match.start(), match.group()) for match in re.finditer(r"(?m)^[^\n]*$", text)]
    for index in range(1, len(lines)):
        rule = _RST_RULE.fullmatch(lines[index][1])
        offset, line = lines[index - 1]
        name = line.strip()
        if rule is None or not name or _RST_RULE.fullmatch(line):
            continue
        above = lines[index - 2][1] if index >= 2 else ""
        over = _RST_RULE.fullmatch(above) is not None and above[0] == lines[index][1][0]
        # A table's rule also stands under text: a title has a blank line (or
        # its own overline) above, and its rule is as long as the title.
        if (above.strip() and not over) or len(lines[index][1].rstrip()) < len(name):
            continue
        if not over and line[0].isspace():
            continue
        style = (rule.group(1), over)
        if style not in styles:
            styles.append(style)
        yield Heading(offset + line.index(name), styles.index(style) + 1, name)


def _rst_literals(text: str) -> Iterator[Span]:
    """Indented blocks under ``::`` or a code directive, the directive line included."""
    opener: int | None = None  # indent of the line that opened the block
    start = end = -1
    for match in _LINE.finditer(text):
        line = match.group()
        body = line.strip()
        if not body:
            continue
        indent = len(line) - len(line.lstrip())
        if opener is not None and indent > opener:
            start = match.start() if start < 0 else start
            end = match.start() + len(line.rstrip())
            continue
        if start >= 0:
            yield start, end
            start = -1
        directive = _RST_DIRECTIVE.match(body) is not None
        opens = directive or (body.endswith("::") and not body.startswith(".."))
        opener = indent if opens else None
        if directive:
            start, end = match.start(), match.start() + len(line.rstrip())
    if start >= 0:
        yield start, end
