"""What the encoders see of each sentence, in batches across documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from indexing.catalog.lifecycle import Lifecycle
from indexing.catalog.records import StoredDocument
from indexing.identity import point_id
from indexing.records import Sentence

_DOCUMENTS_PER_QUERY = 500
_SENTENCES_PER_QUERY = 4000
_LEADING_MARKS = re.compile(r"^\W+")


@dataclass(frozen=True)  # no slots: the id is kept in __dict__
class Item:
    """One sentence to encode; ``text`` is the encoders' input, ``last`` ends its document."""

    document: StoredDocument
    sentence: Sentence
    text: str
    last: bool

    @cached_property
    def id(self) -> str:
        """The id of the sentence's point."""
        stored = self.document
        return point_id(stored.tenant, stored.doc_id, stored.version, self.sentence.ordinal)


def embedding_input(title: str, opening: str, sentence: Sentence) -> str:
    """The sentence, and before a document's first one its title, unless the text begins with it.

    >>> embedding_input("Rivers", "They flow.", Sentence(0, 0, 10, "They flow."))
    'Rivers. They flow.'
    """
    if sentence.ordinal or not title or _bare(opening).startswith(_bare(title)):
        return sentence.text
    return f"{title}. {sentence.text}"


def _bare(text: str) -> str:
    """Without leading marks: "# Rivers" begins with the title "Rivers"."""
    return _LEADING_MARKS.sub("", text)


def items_of(
    lifecycle: Lifecycle, documents: Iterable[StoredDocument], start: Callable[[StoredDocument], int]
) -> Iterator[Item]:
    """Every sentence of every document, from the ordinal that ``start`` names."""
    for group in _groups(documents):
        if len(group) == 1 and group[0].sentences > _SENTENCES_PER_QUERY:
            opening = lifecycle.opening(group[0].key)
            yield from _items(group[0], opening, lifecycle.sentences(group[0].key, start(group[0])))
            continue
        texts = lifecycle.small_texts([document.key for document in group])
        for document in group:
            opening, sentences = texts.get(document.key, ("", []))
            yield from _items(document, opening, sentences[start(document) :])


def _items(document: StoredDocument, opening: str, sentences: Iterable[Sentence]) -> Iterator[Item]:
    for sentence in sentences:
        text = embedding_input(document.title, opening, sentence)
        yield Item(document, sentence, text, sentence.ordinal + 1 == document.sentences)


def _groups(documents: Iterable[StoredDocument]) -> Iterator[list[StoredDocument]]:
    """Neighbours that are read together; a long document is alone."""
    group: list[StoredDocument] = []
    total = 0
    for document in documents:
        if group and (
            len(group) == _DOCUMENTS_PER_QUERY or total + document.sentences > _SENTENCES_PER_QUERY
        ):
            yield group
            group, total = [], 0
        group.append(document)
        total += document.sentences
    if group:
        yield group


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items; the last may be shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
