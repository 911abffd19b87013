"""The JSON of documents and their sentences; see ``serving.schemas`` for the rules."""

from __future__ import annotations

from indexing.records import Scalar
from serving.schemas import IngestedBy, Offset, Reply


class DocumentReply(Reply):
    doc_id: str
    version: str
    title: str
    media_type: str
    sentences: int
    chars: int
    sources: list[str]
    metadata: dict[str, Scalar]
    indexed_at: str
    ingested_by: IngestedBy = None


class DocumentsReply(Reply):
    """One page of documents, by id; ``next`` is the ``after`` of the next page."""

    documents: list[DocumentReply]
    next: str | None
    total: int


class SentenceReply(Reply):
    ordinal: int
    start: Offset
    end: Offset
    section: str
    page: int | None


class SentencesReply(Reply):
    """Sentences of one version of a document; ``next`` is the ``first`` of the next page."""

    doc_id: str
    version: str
    total: int
    sentences: list[SentenceReply]
    next: int | None


class DeletedReply(Reply):
    doc_id: str
    deleted: bool
