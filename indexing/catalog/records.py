"""What the catalogue returns: frozen rows with plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from indexing.records import Scalar

JobState = Literal["queued", "running", "succeeded", "failed", "partial"]
FINISHED_STATES = ("succeeded", "failed", "partial")


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One searchable document; ``chars`` counts its extracted text.

    ``ingested_by`` is the public id of the key that brought this version; None
    where none was asked for, as on the command line.
    """

    tenant: str
    doc_id: str
    version: str
    title: str
    media_type: str
    sentences: int
    chars: int
    sources: tuple[str, ...]
    metadata: Mapping[str, Scalar]
    indexed_at: str
    ingested_by: str | None = None


class Window(NamedTuple):
    """The sentences ``first`` to ``last`` of a document around sentence ``ordinal``, and their text.

    ``text`` is the document's text from ``start`` to ``end``; ``spans`` are the
    sentences' own offsets in the document, one pair per ordinal, ``pages``
    their pages, empty for a document without pages.  ``section`` is that of
    sentence ``ordinal``, ``metadata`` the document's own.  A tuple: every
    search makes a dozen of them.
    """

    tenant: str
    doc_id: str
    version: str
    ordinal: int
    first: int
    last: int
    start: int
    end: int
    text: str
    spans: tuple[tuple[int, int], ...]
    title: str
    source: str
    sources: tuple[str, ...]
    section: str
    metadata: Mapping[str, Scalar]
    pages: tuple[int | None, ...] = ()
    indexed_at: str = ""
    ingested_by: str | None = None

    @property
    def span(self) -> tuple[int, int]:
        """Offsets of sentence ``ordinal`` in the document."""
        return self.spans[self.ordinal - self.first]

    @property
    def sentence(self) -> str:
        """The text of sentence ``ordinal``."""
        start, end = self.span
        return self.text[start - self.start : end - self.start]

    @property
    def page(self) -> int | None:
        """The page of sentence ``ordinal``."""
        return self.pages[self.ordinal - self.first] if self.pages else None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A background indexing job; ``total`` counts its files or documents.

    ``errors`` are pairs of source and reason, ``error_kinds`` the class of each
    in words ("damaged-file"), None where it is not known (yet).
    """

    id: str
    tenant: str
    kind: str
    state: JobState
    total: int
    done: int
    failed: int
    sentences: int
    errors: tuple[tuple[str, str], ...]
    created_at: str
    updated_at: str
    message: str
    error_kinds: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A file or upload that documents came from; ``error`` is "" when it was read.

    ``state`` is ``pending`` (to be read), ``staged`` (read, its documents are
    not all searchable yet), ``live`` or ``failed``.
    """

    uri: str
    state: str
    sha256: str
    size: int
    media_type: str
    digest: str
    error: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over all tenants or one."""

    documents: int
    sentences: int
    chars: int
    staged: int
    retiring: int
    sources: int
    failed_sources: int


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A stretch of a document's text with the sentences that begin in it.

    ``spans`` packs two little-endian int32 per sentence (start and end in the
    document); ``pages`` one per sentence, 0 for no page, or is None for a
    document without pages; ``sections`` are runs of ``[section, sentences]``.
    """

    first_ordinal: int
    count: int
    start: int
    end: int
    text: str
    spans: bytes
    pages: bytes | None
    sections: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document ready to be stored.

    ``explicit`` says that the document brought its id; otherwise the id is a
    function of its file's bytes, and two files with that id are the same.
    """

    doc_id: str
    version: str
    title: str
    media_type: str
    sentences: int
    chars: int
    metadata: Mapping[str, Scalar]
    blocks: tuple[NewBlock, ...]
    explicit: bool


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A version of a document as the ingest sees it; ``key`` is the catalogue's own."""

    key: int
    tenant: str
    doc_id: str
    version: str
    state: str
    title: str
    source: str
    sentences: int
    terms: int | None
    embedded: int
    average: float | None
    metadata: Mapping[str, Scalar]
