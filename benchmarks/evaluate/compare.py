"""Whether a change is one: paired differences, their interval, their p, and Holm's correction."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexing.errors import MissingDependencyError
from retrieval.metrics import Report
from retrieval.significance import bootstrap_interval, randomisation_test

_SAME = 1e-9  # two scores of a query that differ by less are a tie
_RESAMPLES = 9_999
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """One measure, before and after, over the same queries.

    Attributes:
        relative: the difference as a share of ``before``; None when that is 0.
        low, high: 95 % interval of the mean difference, paired bootstrap.
        p: two-sided, paired randomisation.
        p_holm: the same, corrected over the family it was tested in.
        differences: query_id -> after - before.
    """

    measure: str
    before: float
    after: float
    relative: float | None
    low: float
    high: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    differences: Mapping[str, float]

    @property
    def difference(self) -> float:
        return self.after - self.before


def compare(before: Report, after: Report, measures: Sequence[str], seed: int) -> list[Change]:
    """Return the change in every measure, p corrected over these measures."""
    return corrected([change(before, after, measure, seed) for measure in measures])


def change(before: Report, after: Report, measure: str, seed: int) -> Change:
    """Return the change in one measure, its p not yet corrected.

    Raises:
        ValueError: the reports do not score the same queries.
        MissingDependencyError: scipy is not installed.
    """
    old, new = before.per_query[measure], after.per_query[measure]
    if set(old) != set(new):
        raise ValueError("before and after score different queries")
    differences = {query_id: new[query_id] - score for query_id, score in old.items()}
    values = list(differences.values())
    low, high = paired_interval(values, seed)
    p = randomisation_test([new[query_id] for query_id in old], list(old.values()), seed)
    mean = before.means[measure]
    return Change(
        measure,
        mean,
        after.means[measure],
        (after.means[measure] - mean) / mean if mean else None,
        low,
        high,
        p,
        p,
        sum(value > _SAME for value in values),
        sum(abs(value) <= _SAME for value in values),
        sum(value < -_SAME for value in values),
        differences,
    )


def corrected(changes: Sequence[Change]) -> list[Change]:
    """Return the changes with ``p_holm`` corrected over all of them."""
    adjusted = holm([one.p for one in changes])
    return [
        Change(
            one.measure,
            one.before,
            one.after,
            one.relative,
            one.low,
            one.high,
            one.p,
            p,
            one.wins,
            one.ties,
            one.losses,
            one.differences,
        )
        for one, p in zip(changes, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being tested together, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, never falls below the
    one before it, and never rises above 1.  Source: Holm, "A simple
    sequentially rejective multiple test procedure", Scand. J. Statist. 1979.

    >>> holm([0.5, 0.01, 0.25])
    [0.5, 0.03, 0.5]
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for place, row in enumerate(sorted(range(len(p_values)), key=lambda row: p_values[row])):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[row]))
        adjusted[row] = least
    return adjusted


def paired_interval(differences: Sequence[float], seed: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of per-query differences.

    Bias-corrected and accelerated (Efron, JASA 1987), through scipy; the
    percentile interval where the correction is not defined.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise MissingDependencyError("scipy", "bench", "a confidence interval") from error
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or np.ptp(values) <= _SAME:
        mean = math.fsum(differences) / len(differences)
        return mean, mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of a degenerate distribution; it is dealt with below
        found = bootstrap(
            (values,),
            np.mean,
            n_resamples=_RESAMPLES,
            batch=_BATCH,
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    if math.isfinite(found.low) and math.isfinite(found.high):
        return float(found.low), float(found.high)
    return bootstrap_interval(differences, seed, level=level)
