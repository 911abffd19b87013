"""What the tools return: every passage and citation with its document and its offsets.

Offsets are in characters of the document's extracted text, half open, as in
the service's own answers; ``uri`` opens the place as a resource.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, model_validator

from indexing.records import Scalar


class _Output(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Place(_Output):
    doc_id: str
    start: int = Field(description="first character of the quoted text in the document")
    end: int = Field(description="character after the last")

    uri: str = Field(description="resource that holds the quoted text")

    @model_validator(mode="before")
    @classmethod
    def _addressed(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        uri = resource_uri(values["doc_id"], values["start"], values["end"])
        return {**values, "uri": uri}


class Passage(_Place):
    """A matched sentence, ``start`` to ``end``, and the window around it."""

    text: str
    window: str
    window_start: int
    window_end: int
    title: str
    source: str
    section: str
    page: int | None
    score: float


class Cited(_Place):
    """A quote that the answer rests on: the document's text from ``start`` to ``end``."""

    label: str
    quote: str
    source: str
    page: int | None


class Flaw(_Output):
    """Something in a written answer that its sources do not support."""

    kind: str
    text: str


class Found(_Output):
    """Passages, best first; ``degraded`` names what failed on the way."""

    results: list[Passage]
    degraded: list[str]


class Answered(_Output):
    """An answer and its citations."""

    answer: str
    kind: str = Field(description="extractive: quoted verbatim; generated: written by a model; none: nothing")
    citations: list[Cited]
    flaws: list[Flaw]
    degraded: list[str]


class OpenedText(_Place):
    """A slice of a document's text; ``next`` is the ``start`` of the following one, null at the end."""

    text: str
    chars: int = Field(description="characters of the whole document")
    next: int | None
    title: str
    sources: list[str]
    version: str


class DocumentRow(_Output):
    doc_id: str
    title: str
    sources: list[str]
    chars: int
    sentences: int
    metadata: dict[str, Scalar]
    indexed_at: str


class Documents(_Output):
    """One page of documents; ``next`` is the ``after`` of the next page."""

    documents: list[DocumentRow]
    next: str | None
    total: int


class Job(_Output):
    """An indexing job; a new document is found when it has succeeded."""

    id: str
    state: str
    errors: list[dict[str, str]] = []


class Deleted(_Output):
    doc_id: str
    deleted: bool


def resource_uri(doc_id: str, start: int | None = None, end: int | None = None) -> str:
    """Return the resource of a document, or of a slice of its text.

    >>> resource_uri("manual/a b.txt", 3, 9)
    'winnow://documents/manual%2Fa%20b.txt?start=3&end=9'
    """
    whole = f"winnow://documents/{quote(doc_id, safe='')}"
    return whole if start is None or end is None else f"{whole}?start={start}&end={end}"
