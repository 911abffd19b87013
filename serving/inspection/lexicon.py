"""The words behind a sparse vector's dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class WordSource(Protocol):
    """What of an ``EncoderPair`` knows words."""

    def document_length(self, text: str) -> int: ...

    def term(self, index: int) -> str | None: ...


class Lexicon:
    """Dimensions to words, by the encoders that made the vector."""

    def __init__(self, encoders: WordSource) -> None:
        self._encoders = encoders

    def words(self, text: str, indices: Sequence[int]) -> list[str | None]:
        """Return the word of each dimension; None where the text has no word for it.

        A learned encoder has a vocabulary and is asked at once.  BM25 hashes
        its terms, and a hash is not turned back: its encoder remembers the
        words that it has met, so it is first given the text to count.

        Args:
            text: what the vector was made of.
            indices: the dimensions.
        """
        found = [self._encoders.term(index) for index in indices]
        if None in found:
            self._encoders.document_length(text)
            found = [self._encoders.term(index) for index in indices]
        return found
