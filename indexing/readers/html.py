"""HTML and XHTML: visible text in blocks, headings, table rows, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from indexing.errors import DamagedFileError
from indexing.readers.builder import TextBuilder, one_line
from indexing.readers.encodings import decode
from indexing.readers.htmltables import data_table
from indexing.readers.source import Source
from indexing.readers.tables import write_table
from indexing.records import Extraction, Scalar

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_CHARSET = re.compile(rb"""(?i)<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:\-]{2,40})""")
_XML_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:\-]{2,40})["']""")
_LEVELS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_DROPPED = frozenset(
    [
        "head",
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "svg",
        "canvas",
        "iframe",
        "object",
        "embed",
        "audio",
        "video",
        "select",
        "button",
        "input",
        "textarea",
        "datalist",
        "dialog",
        "map",
    ]
)
# Text that a browser does not show is not what the document says to its reader.
_UNSEEN = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|(?:^|;)(?:opacity|font-size):0(?:\.0+)?(?:px|pt|r?em|%)?(?=[;!]|$)"
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "menu",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
) | frozenset(_LEVELS)
_NAMED = ("author", "description", "keywords", "date")


def read_html(source: Source) -> Iterator[Extraction]:
    """Yield one page; its title is ``<title>``, else the first heading."""
    root = parse_html(source.read(), source.name)
    builder = source.builder()
    append_html(builder, root)
    yield builder.build(title=html_title(root), metadata=_metadata(root))


def parse_html(data: bytes, name: str) -> Element:
    """Return the page's root element; the declared charset is tried before guessing.

    Raises:
        DamagedFileError: not text, or nested deeper than the parser follows.
    """
    head = data[:4096]
    match = _CHARSET.search(head) or _XML_ENCODING.search(head)
    declared = match.group(1).decode("ascii") if match else None
    return parse_html_text(decode(data, name, declared=declared), name)


def parse_html_text(text: str, name: str) -> Element:
    """The same for text that is decoded already (a mail part)."""
    from lxml import etree, html

    # huge_tree: without it libxml2 silently drops what is nested deeper than 256.
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = html.document_fromstring(text.encode("utf-8"), parser=parser)
    except etree.ParserError:  # nothing in it, or comments alone
        return html.Element("html")
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DamagedFileError(f"{name} is not an HTML page: {error}") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise DamagedFileError(f"{name} nests elements deeper than 2,048; what is inside would be lost")
    return root


def html_title(root: Element) -> str:
    """Return the page's ``<title>``, else its first ``<h1>``, else ""."""
    for tag in ("title", "h1"):
        for element in root.iter(tag):
            title = one_line("".join(element.itertext()))
            if title:
                return title
    return ""


def append_html(builder: TextBuilder, root: Element) -> None:
    """Write a page's visible text in reading order; walks without recursion, however deep the page."""
    _Walk(builder).run(root)


class _Walk:
    """One pass over the tree: inline text gathers until a block edge writes it out."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._inline: list[str] = []

    def run(self, root: Element) -> None:
        stack: list[tuple[Element, bool]] = [(root, False)]
        while stack:
            element, leaving = stack.pop()
            if leaving:
                if element.tag in _BLOCKS:
                    self._flush()
                self._inline.append(element.tail or "")
            elif self._enter(element):
                self._inline.append(element.text or "")
                stack.append((element, True))
                stack.extend((child, False) for child in reversed(element))
            else:
                self._inline.append(element.tail or "")
        self._flush()

    def _enter(self, element: Element) -> bool:
        """Write what is a block as a whole; return whether to walk its children instead."""
        tag = element.tag
        if not isinstance(tag, str) or tag in _DROPPED or _hidden(element):
            return False
        if tag == "br":
            self._inline.append("\x0b")
            return False
        if tag in ("math", "annotation"):
            self._inline.append(_formula(element))
            return False
        if tag in _BLOCKS:
            self._flush()
        if tag in _LEVELS:
            self._builder.heading(visible(element), _LEVELS[tag])
        elif tag == "pre":
            self._builder.unit(_preformatted(element))
        elif tag == "table" and (table := data_table(element)) is not None:
            rows, header_rows, caption = table
            self._builder.paragraph(caption)
            write_table(self._builder, rows, header_rows=header_rows, spans=True)
        else:
            return True
        return False

    def _flush(self) -> None:
        lines = [one_line(line) for line in "".join(self._inline).split("\x0b")]
        self._inline.clear()
        self._builder.paragraph("\n".join(lines).strip("\n"))


def _preformatted(element: Element) -> str:
    """The text of a ``pre`` with its white space; a ``br`` in it is a newline."""
    for line_break in element.iter("br"):
        line_break.text = "\n"
    return "".join(element.itertext())


def visible(element: Element) -> str:
    """Return an element's text on one line, scripts and hidden parts left out."""
    if not any(child.tag in _DROPPED for child in element.iter()):
        return one_line("".join(element.itertext()))
    return one_line("".join(_visible_parts(element)))


def _visible_parts(element: Element) -> Iterator[str]:
    stack: list[tuple[Element, bool]] = [(element, False)]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            if node is not element:
                yield node.tail or ""
            continue
        stack.append((node, True))
        if isinstance(node.tag, str) and node.tag not in _DROPPED and not _hidden(node):
            yield node.text or ""
            stack.extend((child, False) for child in reversed(node))


def _hidden(element: Element) -> bool:
    attributes = element.attrib
    if not attributes:
        return False
    style = attributes.get("style", "").replace(" ", "").lower()
    return (
        "hidden" in attributes
        or attributes.get("role") in ("navigation", "menu")
        or (style != "" and _UNSEEN.search(style) is not None)
    )


def _formula(element: Element) -> str:
    """MathML as its TeX annotation when it brings one, else as its characters."""
    for note in element.iter("annotation"):
        if "tex" in note.get("encoding", "").lower() and note.text:
            return f" ${one_line(note.text)}$ "
    return one_line("".join(element.itertext()))


def _metadata(root: Element) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    language = root.get("lang")
    if language:
        found["language"] = language[:40]
    for meta in root.iter("meta"):
        name = (meta.get("name") or "").lower()
        content = one_line(meta.get("content") or "")
        if name in _NAMED and content:
            found.setdefault(name, content[:500])
    return found
