"""Mined candidates as JSON lines: what :func:`distill.layouts.read_candidates` reads, and more.

::

    {"query_id", "query", "positives": [doc_id, ...],
     "candidates": [{"doc_id", "text", "score", "rank", "dense", "sparse", "student"}]}

``score`` and ``rank`` are the fused ones; ``dense`` (a cosine), ``sparse`` (a
BM25 or learned dot product) and ``student`` (a logit) are there where that
ranker saw the passage.  They are what a label budget is spent by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distill.layouts import read_candidates, read_lines
from distill.records import CandidateList

SIGNALS = ("score", "dense", "sparse", "student")


@dataclass(frozen=True, slots=True)
class MinedList:
    """Candidates of one query with every ranker's scores.

    Attributes:
        signals: ranker -> one score a passage, higher is better; NaN where
            that ranker did not see the passage.
        ranks: fused rank from 1, one a passage.
        positives: ids of candidates that are known to answer the query.
    """

    candidates: CandidateList
    signals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    ranks: tuple[int, ...] = ()
    positives: tuple[str, ...] = ()

    def keep(self, places: Sequence[int]) -> MinedList:
        """Return the list with the candidates at ``places`` only, in that order."""
        one = self.candidates
        doc_ids = {one.passages[i].doc_id for i in places}
        return MinedList(
            CandidateList(
                one.query,
                tuple(one.passages[i] for i in places),
                None if one.scores is None else tuple(one.scores[i] for i in places),
            ),
            {name: tuple(values[i] for i in places) for name, values in self.signals.items()},
            tuple(self.ranks[i] for i in places) if self.ranks else (),
            tuple(doc_id for doc_id in self.positives if doc_id in doc_ids),
        )

    def as_json(self) -> str:
        one = self.candidates
        rows = []
        for i, passage in enumerate(one.passages):
            row: dict[str, object] = {"doc_id": passage.doc_id, "text": passage.text}
            for name in SIGNALS:
                values = self.signals.get(name)
                if values is not None and not math.isnan(values[i]):
                    row[name] = round(values[i], 6)
            if self.ranks:
                row["rank"] = self.ranks[i]
            rows.append(row)
        body = {"query_id": one.query.query_id, "query": one.query.text}
        known = {"positives": list(self.positives)} if self.positives else {}
        return json.dumps({**body, **known, "candidates": rows}, ensure_ascii=False)


def read_mined(path: Path) -> list[MinedList]:
    """Return a candidates file with whatever rankers' scores its rows carry.

    Raises:
        InputError: as :func:`distill.layouts.read_candidates` does, which has
            checked every row before its further fields are looked at here.
    """
    lists = read_candidates(path)
    rows = (json.loads(line) for line in read_lines(path) if line.strip())
    found = []
    for one, row in zip(lists, rows, strict=True):
        signals = {}
        for name in SIGNALS:
            values = tuple(_number(candidate.get(name)) for candidate in row["candidates"])
            if not all(map(math.isnan, values)):
                signals[name] = values
        ranks = tuple(candidate.get("rank", place) for place, candidate in enumerate(row["candidates"], 1))
        found.append(MinedList(one, signals, ranks, tuple(row.get("positives", ()))))
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
