"""Every system over every pool of a set, turn by turn in one run, with the time each one took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.evaluate.sets import PooledSet
from benchmarks.evaluate.systems import Ranking, System
from retrieval.metrics import Report, evaluate

MEASURES = ("MAP", "MRR@10", "NDCG@10")


@dataclass(slots=True)
class Tally:
    """What one system did so far: its run and what it cost."""

    run: dict[str, dict[str, float]] = field(default_factory=dict)
    pairs: int = 0
    truncated: int = 0
    stepped_aside: int = 0
    seconds: float = 0.0

    def add(self, query_id: str, ranking: Ranking, seconds: float) -> None:
        # Whole numbers by place: the system's own order, with no ties left to break.
        self.run[query_id] = {
            doc_id: float(len(ranking.doc_ids) - place) for place, doc_id in enumerate(ranking.doc_ids)
        }
        self.pairs += ranking.pairs
        self.truncated += ranking.truncated
        self.stepped_aside += ranking.stepped_aside
        self.seconds += seconds if ranking.pairs else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One system on one set.

    Attributes:
        pairs_per_second: query-passage pairs that the model read in a second
            of wall clock; None where no model ran.
    """

    name: str
    model: str
    kind: str
    revision: str
    report: Report
    pairs: int
    truncated: int
    stepped_aside: int
    seconds: float

    @property
    def pairs_per_second(self) -> float | None:
        return self.pairs / self.seconds if self.pairs and self.seconds > 0 else None


def measure(pooled: PooledSet, systems: Mapping[str, System]) -> list[Row]:
    """Return a row for every system, in the order given.

    All systems rank a query before the next one comes, and every other query
    in reverse order, so that load from elsewhere falls on all of them alike.
    Each is warmed up, untimed, on the first query that has a pool.

    Raises:
        EncoderError: a model failed; the run ends, since a comparison without it is none.
    """
    for query_id, pool in pooled.pools.items():
        if pool:
            for system in systems.values():
                _ranked(pooled, system, query_id)
            break
    names = list(systems)
    tallies = {name: Tally() for name in names}
    for turn, query_id in enumerate(pooled.queries):
        for name in names if turn % 2 == 0 else reversed(names):
            began = perf_counter()
            ranking = _ranked(pooled, systems[name], query_id)
            tallies[name].add(query_id, ranking, perf_counter() - began)
    return [_row(pooled, name, systems[name], tally) for name, tally in tallies.items()]


def _ranked(pooled: PooledSet, system: System, query_id: str) -> Ranking:
    pool = pooled.pools.get(query_id, ())
    if not pool:
        return Ranking([])
    return system.rank(query_id, pooled.queries[query_id], pool, [pooled.texts[one] for one in pool])


def _row(pooled: PooledSet, name: str, system: System, tally: Tally) -> Row:
    report = evaluate(tally.run, pooled.qrels, MEASURES, relevant_from=pooled.relevant_from)
    return Row(
        name,
        system.model,
        system.kind,
        system.revision,
        report,
        tally.pairs,
        tally.truncated,
        tally.stepped_aside,
        tally.seconds,
    )
