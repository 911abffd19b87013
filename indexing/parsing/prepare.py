"""An extraction to a document ready to be stored: sentences, blocks, version."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from indexing.catalog.records import NewBlock, NewDocument
from indexing.errors import InputError, ReadError
from indexing.identity import version_of
from indexing.records import Extraction, Sentence
from indexing.sentences import sentences_of
from indexing.settings import IndexingSettings

# A window of a few sentences reads one block, seldom two; a long document's
# text is not one huge row.
BLOCK_CHARS = 8000

_MAX_ID_CHARS = 512


def splitting_of(settings: IndexingSettings) -> str:
    """What the settings change about sentences: part of every version."""
    return f"{settings.unit}:{settings.max_sentence_chars}"


def prepare(
    extraction: Extraction,
    *,
    doc_id: str,
    media_type: str,
    pipeline_version: int,
    settings: IndexingSettings,
    split: Callable[..., Sequence[Sentence]] = sentences_of,
) -> NewDocument:
    """Return the document with its sentences packed into blocks.

    Args:
        doc_id: used when the extraction brings none.

    Raises:
        ReadError: the document's own id cannot be used.
    """
    extraction = _clean(extraction)
    explicit = extraction.doc_id is not None
    chosen = extraction.doc_id if extraction.doc_id is not None else doc_id
    _check_id(chosen)
    sentences = split(extraction, max_chars=settings.max_sentence_chars, unit=settings.unit)
    try:
        version = version_of(extraction, pipeline_version, splitting=splitting_of(settings))
    except InputError as error:
        raise ReadError(str(error)) from error
    return NewDocument(
        doc_id=chosen,
        version=version,
        title=extraction.title,
        media_type=media_type,
        sentences=len(sentences),
        chars=len(extraction.text),
        metadata=dict(extraction.metadata),
        blocks=tuple(_blocks(extraction.text, sentences)),
        explicit=explicit,
    )


def _check_id(doc_id: str) -> None:
    if not doc_id or len(doc_id) > _MAX_ID_CHARS or not doc_id.isprintable():
        raise ReadError(f"doc_id {doc_id[:80]!a}: give 1 to {_MAX_ID_CHARS} printable characters")


def _clean(extraction: Extraction) -> Extraction:
    """Half a surrogate pair cannot be stored; one character takes its place, offsets stay."""
    fields = {
        name: _storable(value) if isinstance(value, str) else value
        for name, value in extraction.metadata.items()
    }
    return replace(
        extraction,
        text=_storable(extraction.text),
        title=_storable(extraction.title),
        headings=tuple(replace(heading, text=_storable(heading.text)) for heading in extraction.headings),
        metadata=fields,
    )


def _storable(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _blocks(text: str, sentences: Sequence[Sentence]) -> Iterator[NewBlock]:
    """Cut ``text`` before sentences so that the pieces join to the whole text."""
    first, start = 0, 0
    for i in range(1, len(sentences) + 1):
        at_end = i == len(sentences)
        if at_end or sentences[i].end - start > BLOCK_CHARS:
            end = len(text) if at_end else sentences[i].start
            yield _block(text, start, end, sentences[first:i])
            first, start = i, end
    if not sentences:
        yield _block(text, 0, len(text), ())


def _block(text: str, start: int, end: int, sentences: Sequence[Sentence]) -> NewBlock:
    spans = array("i", (offset for sentence in sentences for offset in (sentence.start, sentence.end)))
    paged = any(sentence.page is not None for sentence in sentences)
    sections = groupby(sentences, key=lambda sentence: sentence.section)
    return NewBlock(
        first_ordinal=sentences[0].ordinal if sentences else 0,
        count=len(sentences),
        start=start,
        end=end,
        text=text[start:end],
        spans=spans.tobytes(),
        pages=array("i", (sentence.page or 0 for sentence in sentences)).tobytes() if paged else None,
        sections=tuple((name, sum(1 for _ in run)) for name, run in sections),
    )
