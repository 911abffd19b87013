"""Tokenised texts to padded batches of like length, and pairs to logits by way of them.

Most of a batch in input order is padding: sorted, 30 windows are a third of
the work.  :class:`PairScorer` does the rest of what is not the model: the query
is tokenised once and not with every passage, batches are cut so that all
streams of the engine end together, and of a long list the next pairs are
tokenised while the engine works on the present ones.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from indexing.encoders.dense import pack, padded
from indexing.encoders.runtime import IntArray, Runtime
from indexing.records import FloatArray
from retrieval.pairs import Pairs, PairTokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

# Widths are padded up to a multiple: fewer shapes for the engine to prepare.
STEP = 8
# Large enough that the engine's fixed cost a batch is small, small enough that
# several streams have something to do; other sizes were not measured.
BATCH_TOKENS = 2048
# Pairs that are sorted and packed together, and the unit that is tokenised ahead.
WINDOW = 512


def batches(encodings: Sequence[Encoding], budget: int) -> Iterator[tuple[list[int], IntArray, IntArray]]:
    """Yield ``(rows, input_ids, attention_mask)``; the arrays are ``(len(rows), longest)``.

    Every row comes exactly once; a batch has at most ``budget`` tokens with
    its padding, except that a longer row comes alone.
    """
    for rows in pack([len(one.ids) for one in encodings], budget):
        yield (rows, *padded([encodings[row].ids for row in rows]))


def balanced(lengths: Sequence[int], *, budget: int, streams: int, step: int = STEP) -> list[list[int]]:
    """Return rows in groups of like length, longest first, for ``streams`` that work side by side.

    A group has at most ``budget`` tokens with its padding (a longer row comes
    alone), and less where that makes the number of groups a multiple of
    ``streams``: with five equal groups on two streams one stream would idle
    for a sixth of the time.

    >>> balanced([8, 8, 8, 8], budget=24, streams=2)
    [[0, 1], [2, 3]]
    """
    rows = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    total = sum(_rounded(length, step) for length in lengths)
    turns = max(1, -(-total // (budget * streams)))
    target = min(budget, -(-total // (turns * streams)))
    groups: list[list[int]] = []
    width = 0
    for row in rows:
        if groups and (len(groups[-1]) + 1) * width <= target:
            groups[-1].append(row)
        else:
            groups.append([row])
            width = _rounded(lengths[row], step)
    return groups


@dataclass(frozen=True, slots=True)
class Scored:
    """Logits ``(n_texts,)`` float32 of one query's texts, and which pairs were cut."""

    logits: FloatArray
    truncated: tuple[bool, ...]


class PairScorer:
    """Logits of (query, text) pairs from a graph on an engine; safe to call from several threads.

    A logit depends on its own pair alone: order, neighbours and padding change
    it by rounding only (1e-5 in fp32, 1e-2 in bf16).  Tokenising needs no
    lock, so one caller's runs while another's pairs are in the engine.
    """

    def __init__(
        self, runtime: Runtime, tokenizer: PairTokenizer, *, budget: int, longest_input: int
    ) -> None:
        self._runtime = runtime
        self._tokenizer = tokenizer
        self._budget = max(1, min(budget, BATCH_TOKENS))
        # Position embeddings end here: a width may not be rounded up past it.
        self._longest = longest_input
        self._lock = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> Scored:
        """Return the scores in the order of ``texts``.

        Raises:
            EncoderError: the engine failed.
        """
        return self.score_lists([(query, texts)])[0]

    def score_lists(self, lists: Sequence[tuple[str, Sequence[str]]]) -> list[Scored]:
        """Return one :class:`Scored` a list; pairs of several queries share batches.

        Raises:
            EncoderError: the engine failed.
        """
        logits = [np.empty(len(texts), dtype=np.float32) for _, texts in lists]
        truncated: list[list[bool]] = [[] for _ in lists]
        for window in self._tokenized(_windows(lists)):
            ids = list(chain.from_iterable(pairs.ids for _, pairs in window))
            scores = self._run(ids)
            start = 0
            for (number, first), pairs in window:
                stop = start + len(pairs.ids)
                logits[number][first : first + len(pairs.ids)] = scores[start:stop]
                truncated[number].extend(pairs.truncated)
                start = stop
        return [Scored(one, tuple(cut)) for one, cut in zip(logits, truncated, strict=True)]

    def _tokenized(self, windows: Iterable[list[_Slice]]) -> Iterator[list[tuple[tuple[int, int], Pairs]]]:
        """Tokenise each window; from the second on, while the engine runs the one before."""
        pending = iter(windows)
        first, second = next(pending, None), next(pending, None)
        if first is None:
            return
        if second is None:  # one query's candidates: nothing to overlap with, so no thread
            yield self._tokenize(first)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="rerank-tokenize") as pool:
            ahead: Future[list[tuple[tuple[int, int], Pairs]]] = pool.submit(self._tokenize, first)
            for window in chain([second], pending):
                ready = ahead.result()
                ahead = pool.submit(self._tokenize, window)
                yield ready
            yield ahead.result()

    def _tokenize(self, window: Sequence[_Slice]) -> list[tuple[tuple[int, int], Pairs]]:
        return [((one.number, one.first), self._tokenizer.encode(one.query, one.texts)) for one in window]

    def _run(self, ids: Sequence[Sequence[int]]) -> FloatArray:
        groups = balanced([len(one) for one in ids], budget=self._budget, streams=self._runtime.streams)
        inputs = []
        for rows in groups:
            longest = max(len(ids[row]) for row in rows)
            step = STEP if _rounded(longest, STEP) <= self._longest else 1
            inputs.append(padded([ids[row] for row in rows], step))
        logits = np.empty(len(ids), dtype=np.float32)
        with self._lock:
            outputs = self._runtime.run_many(inputs)
        for rows, output in zip(groups, outputs, strict=True):
            logits[rows] = output.reshape(len(rows))
        return logits


@dataclass(frozen=True, slots=True)
class _Slice:
    """Some texts of list ``number``, from its text ``first`` on."""

    number: int
    first: int
    query: str
    texts: Sequence[str]


def _windows(lists: Sequence[tuple[str, Sequence[str]]]) -> Iterator[list[_Slice]]:
    """Yield slices of the lists in order, :data:`WINDOW` texts at most together."""
    window: list[_Slice] = []
    free = WINDOW
    for number, (query, texts) in enumerate(lists):
        first = 0
        while first < len(texts):
            part = texts[first : first + free]
            window.append(_Slice(number, first, query, part))
            first, free = first + len(part), free - len(part)
            if not free:
                yield window
                window, free = [], WINDOW
    if window:
        yield window


def _rounded(value: int, step: int) -> int:
    return -(-value // step) * step
