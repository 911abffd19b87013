"""What a side of the comparison does, and the data every side is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np

from indexing.records import FloatArray

DOCUMENT_SENTENCES = 20
RESULTS = 10
POOL = 50


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sentences with their vectors, and queries with theirs.

    ``vectors`` is ``(sentences, dimensions)``, ``query_vectors``
    ``(queries, dimensions)``; rows of unit length, one encoder for every side.
    A sentence's id is its position; sentence ``i`` is sentence
    ``ordinals[i]`` of document ``documents[i]``.
    """

    sentences: list[str]
    documents: list[int]
    ordinals: list[int]
    texts: list[str]
    vectors: FloatArray
    queries: list[str]
    query_vectors: FloatArray

    @property
    def raw_bytes(self) -> int:
        """UTF-8 bytes of the documents' text."""
        return sum(len(text.encode()) for text in self.texts)

    def save(self, folder: Path) -> None:
        """Write the corpus where a child process reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        fields = {
            name: getattr(self, name) for name in ("sentences", "documents", "ordinals", "texts", "queries")
        }
        (folder / "corpus.json").write_text(json.dumps(fields), encoding="utf-8")
        np.save(folder / "vectors.npy", self.vectors)
        np.save(folder / "query_vectors.npy", self.query_vectors)

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Read what :meth:`save` wrote; the vectors are memory-mapped."""
        fields = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        return cls(
            vectors=np.load(folder / "vectors.npy", mmap_mode="r"),
            query_vectors=np.load(folder / "query_vectors.npy"),
            **fields,
        )


@dataclass(frozen=True, slots=True)
class Timed:
    """One answered query."""

    found: list[int]
    ms: float


def timed_calls(search: Callable[[int], list[int]], numbers: Sequence[int], deadline: float) -> list[Timed]:
    """Time a blocking search call by call."""
    answers: list[Timed] = []
    for number in numbers:
        before = perf_counter()
        found = search(number)
        answers.append(Timed(found, 1000 * (perf_counter() - before)))
        if perf_counter() > deadline:
            break
    return answers


class Side(Protocol):
    """One system under the same corpus, the same vectors and the same queries."""

    name: str

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Index from nothing until every index is built and every write is durable."""
        ...

    def open(self, folder: Path, corpus: Corpus) -> None:
        """Open what :meth:`build` left, in a fresh process."""
        ...

    def search(self, number: int, *, exact: bool = False) -> list[int]:
        """Ids of the ten best sentences for query ``number``, dense and sparse fused.

        ``exact`` asks for the same search without an approximate index;
        ``NotImplementedError`` where the system has no such thing.
        """
        ...

    def timed(self, numbers: Sequence[int], deadline: float) -> list[Timed]:
        """Search for each number in turn until the deadline (``perf_counter``); one at least."""
        ...

    def payload_bytes(self) -> int | None:
        """Bytes of stored fields beside the vectors; None when it cannot be told."""
        ...

    def processes(self) -> list[int]:
        """Further process ids whose memory belongs to this side."""
        ...

    def close(self) -> None: ...
