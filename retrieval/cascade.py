"""Two rerankers in a row: a small one reads every text, a large one only what is in doubt.

The small model's ranking is cut into runs of neighbours whose logits are less
than ``margin`` apart.  A text alone in its run is sure of its place; runs with
more texts go to the large model, which orders each run anew.  Logits of two
models are never compared: what is in doubt changes places with what it is in
doubt with, and with nothing else.

At margin 0 nothing is in doubt, and the ranking is the small model's; at an
infinite margin, with ``keep`` at the number of texts or more, it is the large one's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np

from indexing.languages import coverage
from indexing.records import FloatArray
from indexing.settings import CascadeSettings
from retrieval.rerank import Reranker, RerankScores, checked_scores

log = logging.getLogger(__name__)


class CascadeReranker:
    """``first`` and then ``second`` behind the ``Reranker`` protocol.

    The logits it returns order the texts and are on the first model's scale:
    a text has the logit of the place that it ended in.

    Args:
        first: the small model.
        second: the large one; it decides which scripts the pair can read, and
            gets every text of a query that the first one cannot read.
        settings: ``keep``, how many of the first model's best may go on, and
            ``margin``, in logits of the first model.
        min_coverage: least share of letters in the first model's scripts.
    """

    def __init__(
        self,
        first: Reranker,
        second: Reranker,
        settings: CascadeSettings,
        *,
        min_coverage: float = 0.5,
    ) -> None:
        self._first = first
        self._second = second
        self._keep = settings.keep
        self._margin = settings.margin
        self._min_coverage = min_coverage
        self._lock = threading.Lock()
        self.queries = 0
        self.sent_on = 0
        self.early_exits = 0

    @property
    def name(self) -> str:
        return f"{self._first.name}>{self._second.name}"

    @property
    def kind(self) -> str:
        return self._second.kind

    @property
    def scripts(self) -> frozenset[str] | None:
        return self._second.scripts

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return logits in the order of ``texts`` (see the class).

        Raises:
            EncoderError: one of the models failed.
        """
        if not self._first_reads(query, texts):
            return self._second.score(query, texts)
        small = self._first.score(query, texts)
        runs = doubtful_runs(small.logits, keep=self._keep, margin=self._margin)
        rows = [row for run in runs for row in run]
        self._count(len(rows))
        if not rows:
            return small
        large = self._second.score(query, [texts[row] for row in rows])
        logits = np.array(small.logits, dtype=np.float32)
        truncated = list(small.truncated)
        start = 0
        for run in runs:
            stop = start + len(run)
            logits[run] = reordered(small.logits[run], large.logits[start:stop])
            start = stop
        for row, cut in zip(rows, large.truncated, strict=True):
            truncated[row] = cut
        return checked_scores(self.name, logits, tuple(truncated))

    def _first_reads(self, query: str, texts: Sequence[str]) -> bool:
        scripts = self._first.scripts
        return scripts is None or all(
            coverage(text, scripts) >= self._min_coverage for text in (query, *texts)
        )

    def _count(self, sent_on: int) -> None:
        with self._lock:
            self.queries += 1
            self.sent_on += sent_on
            self.early_exits += not sent_on
        log.debug("cascade: %d texts sent on", sent_on)


def doubtful_runs(logits: FloatArray, *, keep: int, margin: float) -> list[list[int]]:
    """Return positions in runs of two or more neighbours less than ``margin`` apart, best first.

    Only the ``keep`` best are looked at.

    >>> doubtful_runs(np.array([3.0, 9.0, 3.1, 8.9, 6.0]), keep=5, margin=0.5)
    [[1, 3], [2, 0]]
    """
    best = sorted(range(len(logits)), key=lambda row: (-float(logits[row]), row))[:keep]
    runs: list[list[int]] = []
    for place, row in enumerate(best):
        if place and float(logits[best[place - 1]]) - float(logits[row]) < margin:
            runs[-1].append(row)
        else:
            runs.append([row])
    return [run for run in runs if len(run) > 1]


def reordered(places: FloatArray, logits: FloatArray) -> FloatArray:
    """Return ``places`` handed out by ``logits``: the best logit gets the highest place.

    Equal logits get equal places and unequal ones unequal places, so that a
    tie in the result is a tie of the model that decided.  Where places are
    equal, the next lower float stands in.
    """
    highest = np.sort(places)[::-1]
    result = np.empty(len(places), dtype=np.float32)
    previous, place = None, np.float32(0)
    for rank, row in enumerate(np.argsort(-logits, kind="stable")):
        if previous is None or logits[row] != previous:
            below = np.nextafter(place, np.float32(-np.inf), dtype=np.float32)
            place = highest[rank] if previous is None else min(highest[rank], below)
        result[row], previous = place, logits[row]
    return result
