"""How sure a mean over queries is, and whether two runs differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ROUNDS = 10_000
_CHUNK = 500


def bootstrap_interval(scores: Sequence[float], seed: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over queries.

    10,000 resamples.  Source: Sakai, "Evaluating evaluation metrics based on
    the bootstrap", SIGIR 2006.
    """
    values = np.asarray(scores, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            values[generator.integers(0, len(values), (_CHUNK, len(values)))].mean(axis=1)
            for _ in range(_ROUNDS // _CHUNK)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def randomisation_test(one: Sequence[float], other: Sequence[float], seed: int) -> float:
    """Return the two-sided p of a paired randomisation test on the mean difference.

    10,000 random exchanges of the two runs' scores per query; the observed
    labelling counts among them, so p is never 0.  Source: Smucker, Allan and
    Carterette, "A comparison of statistical significance tests for information
    retrieval evaluation", CIKM 2007.

    Raises:
        ValueError: the runs do not score the same number of queries.
    """
    if len(one) != len(other):
        raise ValueError(f"paired runs of {len(one)} and {len(other)} queries")
    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    observed = abs(differences.mean())
    generator = np.random.default_rng(seed)
    extreme = 0
    for _ in range(_ROUNDS // _CHUNK):
        signs = generator.integers(0, 2, (_CHUNK, len(differences))) * 2 - 1
        means = np.abs((signs * differences).mean(axis=1))
        extreme += int((means >= observed - 1e-12).sum())
    return (extreme + 1) / (_ROUNDS + 1)
