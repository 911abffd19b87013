"""Interleaved rounds and what they say: medians, and intervals of ratios.

Other programs slow a machine down by phases longer than a call, so two sides
are compared within a round, where they ran one after the other, and never by
their fastest runs.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np

from benchmarks.rerank.sides import Lists, Score
from benchmarks.rerank.workload import Pool
from indexing.records import FloatArray
from retrieval.metrics import evaluate

log = logging.getLogger(__name__)

MEASURE = "NDCG@10"
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall and processor seconds of one side, a value a round."""

    wall_s: list[float]
    cpu_s: list[float]


def run_rounds(sides: Mapping[str, Score], work: Sequence[Lists], *, rounds: int) -> dict[str, Timing]:
    """Time each side on each piece of work, the sides in turn within a round.

    Which side begins moves on from round to round.
    """
    names = list(sides)
    timings = {name: Timing([], []) for name in names}
    for number in range(rounds * len(work)):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, cpu = perf_counter(), process_time()
            sides[name](work[number % len(work)])
            timings[name].cpu_s.append(process_time() - cpu)
            timings[name].wall_s.append(perf_counter() - wall)
        log.info("round %d of %d", number + 1, rounds * len(work))
    return timings


def ratio(slow: Sequence[float], fast: Sequence[float], seed: int) -> tuple[float, float, float]:
    """Return the median of the rounds' ratios, and its 95% bootstrap interval."""
    ratios = np.asarray(slow, dtype=np.float64) / np.asarray(fast, dtype=np.float64)
    generator = np.random.default_rng(seed)
    medians = np.median(ratios[generator.integers(0, len(ratios), (_RESAMPLES, len(ratios)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def rows(
    timings: Mapping[str, Timing], base: str, pairs: Sequence[int], seed: int
) -> list[dict[str, object]]:
    """Return a row a side: pairs per second, latencies, and how often it is as fast as ``base``.

    ``pairs`` are those of each round.
    """
    found: list[dict[str, object]] = []
    for name, timing in timings.items():
        median, low, high = ratio(timings[base].wall_s, timing.wall_s, seed)
        found.append(
            {
                "side": name,
                "pairs_per_s": statistics.median(n / s for n, s in zip(pairs, timing.wall_s, strict=True)),
                "p50_ms": 1e3 * float(np.quantile(timing.wall_s, 0.5)),
                "p95_ms": 1e3 * float(np.quantile(timing.wall_s, 0.95)),
                "times_base": median,
                "times_base_95": [low, high],
                "times_base_cpu": ratio(timings[base].cpu_s, timing.cpu_s, seed)[0],
            }
        )
    return found


def ndcg(pools: Sequence[Pool], logits: Sequence[FloatArray]) -> float | None:
    """Return the mean NDCG@10 over the judged pools, None when there is none."""
    found = _per_query(pools, logits)
    return statistics.fmean(found.values()) if found else None


def quality(
    pools: Sequence[Pool], logits: Sequence[FloatArray], reference: Sequence[FloatArray], seed: int
) -> dict[str, object]:
    """Return NDCG@10, its change against the reference's, and that change's 95% bootstrap interval.

    The interval is over queries, paired; all three are None without judged pools.
    """
    mine, theirs = _per_query(pools, logits), _per_query(pools, reference)
    if not mine:
        return {"queries": 0, "ndcg@10": None, "change": None, "change_95": None}
    changes = np.asarray([mine[one] - theirs[one] for one in mine])
    generator = np.random.default_rng(seed)
    means = changes[generator.integers(0, len(changes), (_RESAMPLES, len(changes)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "queries": len(mine),
        "ndcg@10": statistics.fmean(mine.values()),
        "change": float(changes.mean()),
        "change_95": [float(low), float(high)],
    }


def _per_query(pools: Sequence[Pool], logits: Sequence[FloatArray]) -> dict[str, float]:
    run, qrels = {}, {}
    for pool, values in zip(pools, logits, strict=True):
        if pool.grades and any(grade > 0 for grade in pool.grades.values()):
            run[pool.query_id] = dict(zip(pool.texts, values.tolist(), strict=True))
            qrels[pool.query_id] = pool.grades
    return dict(evaluate(run, qrels, [MEASURE]).per_query[MEASURE]) if run else {}


def agreement(logits: Sequence[FloatArray], reference: Sequence[FloatArray]) -> dict[str, float]:
    """Return the correlation with the reference's logits, and how often both have the same best text."""
    same = [float(np.argmax(one) == np.argmax(other)) for one, other in zip(logits, reference, strict=True)]
    values = np.corrcoef(np.concatenate(logits), np.concatenate(reference))
    return {"correlation": float(values[0, 1]), "same_first": statistics.mean(same)}
