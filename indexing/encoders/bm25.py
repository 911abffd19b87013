"""BM25 as sparse vectors: term frequency and length here, IDF in the engine.

A document's value for a term is ``tf*(k1+1) / (tf + k1*(1 - b + b*len/avg))``,
a query's is the number of times it says the term, and the engine multiplies by
``ln((N - n + .5)/(n + .5) + 1)`` (Robertson and Zaragoza 2009, Lucene's IDF).
A repeated query term counts as often as it is said, as in Lucene and bm25s;
scores are ``k1 + 1`` times those of ``bm25s`` with ``method="lucene"``, which
leaves that constant out, so rankings are equal.

A term's dimension is the first 32 bits of its BLAKE2b hash: the same in every
process, no vocabulary to keep.  Two terms of a vocabulary of n share one with
expectation n²/2³³, 116 pairs in a million terms; of 145,960 real terms (English
stems and Chinese bigrams) 2 pairs did, 2.5 expected.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence

from indexing.encoders.analysis import ANALYZER_VERSION, STOP_WORDS, Analyzer, words_of
from indexing.encoders.protocols import Fingerprint
from indexing.encoders.question import without_question_words
from indexing.errors import EncoderError
from indexing.records import SparseVector

logger = logging.getLogger(__name__)

_VOCABULARY_LIMIT = 1_000_000  # words remembered, about 150 MB; past it the memory starts again
_STOP = -1


def term_index(term: str) -> int:
    """The term's dimension, an unsigned integer of 32 bits."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "big")


class Vocabulary(dict[str, int]):
    """Word to dimension, filled as words are met; stop words are -1.

    Also remembers a word behind each dimension for display.  Bounded: a
    vocabulary that reaches the limit is emptied, which costs time, not results.
    """

    def __init__(self, analyzer: Analyzer, limit: int = _VOCABULARY_LIMIT) -> None:
        super().__init__()
        self._analyzer = analyzer
        self._limit = limit
        self._shown: dict[int, str] = {}

    def __missing__(self, word: str) -> int:
        term = self._analyzer.term_of(word)
        index = _STOP if term is None else term_index(term)
        if len(self) >= self._limit:
            logger.debug("vocabulary reached %d words; starting again", self._limit)
            self.clear()
            self._shown.clear()
        self[word] = index
        if index != _STOP:
            self._shown.setdefault(index, word)
        return index

    def shown(self, index: int) -> str | None:
        return self._shown.get(index)


class Bm25Encoder:
    """BM25 behind the ``SparseEncoder`` protocol; safe to share between threads.

    Args:
        k1: how soon repetition stops counting.
        b: how far a document's length counts.
        stem: English Snowball stemming.
        question_words: queries keep the words that ask, see :mod:`indexing.encoders.question`.
        average_length: mean of :meth:`document_length` over the collection.
            Queries do not need it; documents refuse to be encoded without.
    """

    idf = True

    def __init__(
        self,
        *,
        k1: float = 1.2,
        b: float = 0.75,
        stem: bool = True,
        question_words: bool = False,
        average_length: float | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        if average_length is not None and not average_length > 0:
            raise EncoderError(f"BM25's average length is {average_length}; it must be above 0")
        self._k1 = k1
        self._b = b
        self._stem = stem
        self._question_words = question_words
        self._average_length = average_length
        self._vocabulary = vocabulary if vocabulary is not None else Vocabulary(Analyzer(stem=stem))

    @property
    def average_length(self) -> float | None:
        return self._average_length

    @property
    def fingerprint(self) -> Fingerprint:
        """Covers what documents are encoded by but the average length, which drifts as they come and go."""
        stops = hashlib.sha256(" ".join(sorted(STOP_WORDS)).encode()).hexdigest()[:16]
        return Fingerprint(
            kind="sparse",
            name="bm25",
            parameters={
                "analyzer": ANALYZER_VERSION,
                "k1": self._k1,
                "b": self._b,
                "stem": "english" if self._stem else "none",
                "stop_words": stops,
            },
        )

    def with_average_length(self, average: float) -> Bm25Encoder:
        """The same encoder, vocabulary shared, with the average length set."""
        return Bm25Encoder(
            k1=self._k1,
            b=self._b,
            stem=self._stem,
            question_words=self._question_words,
            average_length=average,
            vocabulary=self._vocabulary,
        )

    def document_length(self, text: str) -> int:
        """Terms in the text, stop words left out, repetitions counted."""
        return len(self._indices(text))

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        average = self._average_length
        if average is None:
            if not texts:
                return []
            raise EncoderError(
                "BM25 documents need the collection's average length; "
                "set it with with_average_length(mean of document_length over the collection)"
            )
        return [self._document(text, average) for text in texts]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """Terms and how often each comes, without the words that ask unless there are no others."""
        vectors = []
        for text in texts:
            asked = text if self._question_words else without_question_words(text)
            items = sorted(Counter(self._indices(asked)).items())
            vectors.append(SparseVector(tuple(i for i, _ in items), tuple(float(n) for _, n in items)))
        return vectors

    def term(self, index: int) -> str | None:
        """A word, in lower case, that was seen with this dimension in this process."""
        return self._vocabulary.shown(index)

    def _indices(self, text: str) -> list[int]:
        indices = list(map(self._vocabulary.__getitem__, words_of(text)))
        if _STOP in indices:
            return [index for index in indices if index != _STOP]
        return indices

    def _document(self, text: str, average: float) -> SparseVector:
        indices = self._indices(text)
        length = len(indices)
        norm = self._k1 * (1 - self._b + self._b * length / average)
        gain = self._k1 + 1
        distinct = sorted(set(indices))
        if len(distinct) == length:  # most sentences say each word once
            return SparseVector(tuple(distinct), (gain / (1 + norm),) * length)
        counts = Counter(indices)
        return SparseVector(
            tuple(distinct),
            tuple(counts[index] * gain / (counts[index] + norm) for index in distinct),
        )
