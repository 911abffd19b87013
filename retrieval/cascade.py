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
from collections.abc import Mapping, Sequence

import numpy as np

from indexing.languages import coverage
from indexing.records import FloatArray
from indexing.settings import CascadeSettings
from retrieval.reranker import Reranker, RerankScores, checked_scores

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
        logits = merged(small.logits, runs, dict(zip(rows, large.logits.tolist(), strict=True)))
        truncated = list(small.truncated)
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


def merged(small: FloatArray, runs: Sequence[Sequence[int]], large: Mapping[int, float]) -> FloatArray:
    """Return logits that rank as ``small`` does, but each run as ``large`` does.

    The text that ends in place ``n`` gets the ``n``-th best of ``small``; where
    that would tie two texts that no model ties, the next lower float.  A tie
    in the result is a tie of the model that decided, so the rule for ties
    that holds for one model (then by id) holds for both.
    """
    best = sorted(range(len(small)), key=lambda row: (-float(small[row]), row))
    within = {row: number for number, run in enumerate(runs) for row in run}
    inside = [iter(sorted(run, key=lambda row: -large[row])) for run in runs]
    result = np.empty(len(small), dtype=np.float32)
    place, previous = np.float32(np.inf), None
    for standing in best:
        number = within.get(standing)
        row = standing if number is None else next(inside[number])
        decided = (number, float(small[row]) if number is None else large[row])
        if decided != previous:
            below = np.nextafter(place, np.float32(-np.inf), dtype=np.float32)
            place = min(np.float32(small[standing]), below)
        result[row], previous = place, decided
    return result
