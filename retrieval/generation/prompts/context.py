"""A passage as the model sees it: fenced, with its source, under a label.

The label is the passage's place in the prompt, not its rank: ranks change with
the question, and a changed label would end the shared prefix there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from retrieval.records import SearchResult

# Anything that looks like our fence, in whatever case or spacing.
_FENCE = re.compile(r"<(?=\s*/?\s*passage\b)", re.IGNORECASE)
_LINE_BREAKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class ContextPassage:
    """A slice ``start:end`` of one version of a document, shown under ``label``.

    ``rank`` is its place in the ranking of the question it was found for,
    from 1.
    """

    doc_id: str
    version: str
    start: int
    end: int
    text: str
    source: str
    title: str
    section: str
    page: int | None
    rank: int
    label: int = 0

    @classmethod
    def of(cls, result: SearchResult, rank: int) -> ContextPassage:
        """Return the result's window as a passage without a label."""
        return cls(
            doc_id=result.doc_id,
            version=result.version,
            start=result.window_start,
            end=result.window_end,
            text=result.window,
            source=result.source,
            title=result.title,
            section=result.section,
            page=result.page,
            rank=rank,
        )

    def holds(self, other: ContextPassage) -> bool:
        """Whether the other passage is a part of this one."""
        same = (self.doc_id, self.version) == (other.doc_id, other.version)
        return same and self.start <= other.start and other.end <= self.end


def place(passages: Iterable[ContextPassage], *, first_label: int = 1) -> list[ContextPassage]:
    """Return the passages in document order, labelled from ``first_label`` on.

    The order depends on the documents alone, so that two questions that find
    the same passages, ranked differently, share the whole context.
    """
    ordered = sorted(passages, key=lambda one: (one.doc_id, one.version, one.start, one.end))
    return [replace(one, label=label) for label, one in enumerate(ordered, start=first_label)]


def render_passage(passage: ContextPassage) -> str:
    """Return the fenced text.

    What stands in a document must not be able to close its own fence, so a
    ``<`` that would open or close one is written as ``‹``.
    """
    parts = [passage.source]
    if passage.page is not None:
        parts.append(f"page {passage.page}")
    if passage.section:
        parts.append(passage.section)
    line = _LINE_BREAKS.sub(" ", _unfenced(", ".join(parts)))
    text = _unfenced(passage.text.strip())
    return f"<passage {passage.label}>\nsource: {line}\n{text}\n</passage {passage.label}>"


def ranking_line(passages: Sequence[ContextPassage]) -> str:
    """Return the labels by rank, best first; this is how the ranks reach the model."""
    ordered = sorted(passages, key=lambda one: (one.rank, one.label))
    return "Most relevant first: " + ", ".join(f"[{one.label}]" for one in ordered) + "."


def _unfenced(text: str) -> str:
    return _FENCE.sub("‹", text)
