"""A passage as the model sees it: fenced, with its source, under a label.

The label is the passage's place in the prompt, not its rank: ranks change with
the question, and a changed label would end the shared prefix there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from retrieval.generation.neutral import as_shown
from retrieval.records import SearchResult

_LINE_BREAKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class ContextPassage:
    """A slice ``start:end`` of one version of a document, shown under ``label``.

    ``rank`` is its place in the ranking of the question it was found for,
    from 1.  ``match`` is the sentence that was found, and ``pages`` has
    ``(offset, page)`` where a page begins in it; both in document offsets.
    Neither is shown to the model, and two passages are the same without them.
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
    match: tuple[int, int] | None = field(default=None, compare=False)
    pages: tuple[tuple[int, int | None], ...] = field(default=(), compare=False)

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
            match=(result.start, result.end),
            pages=tuple(
                (start, page)
                for (start, _), page in zip(result.highlights, result.highlight_pages, strict=False)
            ),
        )

    def meets(self, other: ContextPassage) -> bool:
        """Whether both hold some of the same text."""
        same = (self.doc_id, self.version) == (other.doc_id, other.version)
        return same and self.start < other.end and other.start < self.end

    def without(self, others: Iterable[ContextPassage]) -> list[ContextPassage]:
        """Return the parts of this passage that none of the others shows, in order."""
        met = sorted((one for one in others if self.meets(one)), key=lambda one: one.start)
        if not met:
            return [self]
        parts: list[ContextPassage] = []
        at = self.start
        for other in met:
            parts += self._part(at, other.start)
            at = max(at, other.end)
        return parts + self._part(at, self.end)

    def page_at(self, offset: int) -> int | None:
        """Return the page of the sentence that begins at a document offset."""
        begun = [page for start, page in self.pages if start <= offset]
        return begun[-1] if begun else self.page

    def _part(self, start: int, end: int) -> list[ContextPassage]:
        """Return the slice without white space at its ends; nothing where nothing is left."""
        if start >= end:
            return []
        text = self.text[start - self.start : end - self.start]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        return [replace(self, start=start, end=start + len(text), text=text)] if text else []


def place(passages: Iterable[ContextPassage], *, first_label: int = 1) -> list[ContextPassage]:
    """Return the passages in document order, labelled from ``first_label`` on.

    The order depends on the documents alone, so that two questions that find
    the same passages, ranked differently, share the whole context.
    """
    ordered = sorted(passages, key=lambda one: (one.doc_id, one.version, one.start, one.end))
    return [replace(one, label=label) for label, one in enumerate(ordered, start=first_label)]


def render_passage(passage: ContextPassage) -> str:
    """Return the fenced text.

    What stands in a document must not be able to close its own fence, to
    forge a label or to open a turn: see :mod:`retrieval.generation.neutral`.
    """
    parts = [passage.source]
    if passage.page is not None:
        parts.append(f"page {passage.page}")
    if passage.section:
        parts.append(passage.section)
    line = _LINE_BREAKS.sub(" ", as_shown(", ".join(parts)))
    text = as_shown(passage.text.strip())
    return f"<passage {passage.label}>\nsource: {line}\n{text}\n</passage {passage.label}>"


def ranking_line(passages: Sequence[ContextPassage]) -> str:
    """Return the line that sends the model to the best label first; this is how the ranks reach it.

    The labels stand without brackets and the line is a request, not a list: a
    small model copied a list of labels into its answer (docs/generation.md).
    """
    best, *others = (one.label for one in sorted(passages, key=lambda one: (one.rank, one.label)))
    rest = f", then in {', '.join(map(str, others))}" if others else ""
    return f"Look in passage {best} first{rest}."
