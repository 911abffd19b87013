"""Passages of the index for a language model to write queries about."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from distill.records import Passage
from indexing.catalog.records import DocumentRecord
from indexing.records import Sentence

_PAGE = 1000
MIN_CHARS = 80  # shorter ones (headings, captions) give questions that nobody asks
MAX_CHARS = 1000


class Documents(Protocol):
    """The part of the catalogue that is read here."""

    def documents(
        self, tenant: str, *, limit: int = 100, after: str | None = None
    ) -> list[DocumentRecord]: ...

    def sentences(self, tenant: str, doc_id: str) -> list[Sentence]: ...

    def text(self, tenant: str, doc_id: str, start: int | None = None, end: int | None = None) -> str: ...


def sample_passages(catalog: Documents, tenant: str, count: int, *, seed: int = 0) -> list[Passage]:
    """Return at most ``count`` passages that do not overlap, by document and place.

    A passage begins at a sentence drawn evenly from all of them and goes on to
    about 1,000 characters or the end of the section.  Named ``DOC#START-END``,
    as mined candidates are.  The same index and ``seed`` give the same ones.
    """
    chance = random.Random(seed)  # noqa: S311 - not a secret
    records = [record for record in _all(catalog, tenant) if record.sentences]
    ends = list(accumulate(record.sentences for record in records))
    if not ends:
        return []
    # Some begin too near to another or come out too short, so more are drawn than wanted.
    drawn = chance.sample(range(ends[-1]), min(ends[-1], 3 * count))
    begins: dict[int, list[int]] = {}
    for number in drawn:
        place = bisect.bisect_right(ends, number)
        begins.setdefault(place, []).append(number - (ends[place - 1] if place else 0))
    found: list[Passage] = []
    for place in begins:  # documents in the order they were drawn first
        if len(found) >= count:
            break
        found.extend(_cut(catalog, tenant, records[place].doc_id, begins[place]))
    return sorted(found[:count], key=lambda passage: passage.doc_id)


def _all(catalog: Documents, tenant: str) -> Iterator[DocumentRecord]:
    after: str | None = None
    while page := catalog.documents(tenant, limit=_PAGE, after=after):
        yield from page
        after = page[-1].doc_id


def _cut(catalog: Documents, tenant: str, doc_id: str, begins: Sequence[int]) -> list[Passage]:
    sentences = catalog.sentences(tenant, doc_id)
    taken: list[Passage] = []
    free_from = 0
    for begin in sorted(begins):
        if begin < free_from or begin >= len(sentences):
            continue
        first = last = sentences[begin]
        for sentence in sentences[begin + 1 :]:
            if sentence.section != first.section or sentence.end - first.start > MAX_CHARS:
                break
            last = sentence
        free_from = last.ordinal + 1
        if last.end - first.start >= MIN_CHARS:
            text = catalog.text(tenant, doc_id, first.start, last.end)
            taken.append(Passage(f"{doc_id}#{first.start}-{last.end}", text))
    return taken
