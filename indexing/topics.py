"""Python's own language reference, inside every interpreter: a corpus without a download."""

from __future__ import annotations

import re
from itertools import pairwise

from indexing.ingest.stage import TextItem
from indexing.records import Extraction, Heading

PREFIX = "python:topics/"

_UNDERLINED = re.compile(r"^(?P<title>\S[^\n]*)\n(?P<line>[*=\-~^\"])(?P=line){2,}[ ]*$", re.MULTILINE)
_INDENTED = re.compile(r"(?:^ {3,}\S[^\n]*\n(?:[ ]*\n(?= {3,}\S))?){2,}", re.MULTILINE)
_LEVELS = {"*": 1, "=": 2, "-": 3, "~": 4, "^": 5, '"': 6}
_MAX_UNIT_CHARS = 1200


def python_topics() -> list[TextItem]:
    """Return the topics of ``pydoc_data.topics`` as documents, sorted by name."""
    from pydoc_data.topics import topics

    return [
        TextItem(f"{PREFIX}{name}", topic_extraction(name, text), "text/x-rst")
        for name, text in sorted(topics.items())
    ]


def topic_extraction(name: str, text: str) -> Extraction:
    """One topic: underlined lines are headings, indented examples and grammars stay whole."""
    headings = tuple(
        Heading(match.start("title"), _LEVELS[match["line"]], match["title"])
        for match in _UNDERLINED.finditer(text)
    )
    units = [
        (match.start(), match.end())
        for match in _INDENTED.finditer(text)
        if match.end() - match.start() <= _MAX_UNIT_CHARS
    ]
    disjoint = [units[0]] if units else []
    disjoint += [after for before, after in pairwise(units) if after[0] >= before[1]]
    return Extraction(
        text=text, title=name, doc_id=f"python-{name}", headings=headings, units=tuple(disjoint)
    )
