"""NDCG@10 against latency of a cascade, over its margins and numbers kept."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.rerank.measuring import ndcg
from benchmarks.rerank.workload import Pool
from indexing.errors import MissingDependencyError
from indexing.records import FloatArray
from indexing.settings import CascadeSettings
from retrieval.cascade import CascadeReranker
from retrieval.reranker import Reranker

MARGIN_QUANTILES = (0.25, 0.5, 0.75)  # of the gaps between neighbours in the small model's rankings
KEEPS = (5, 10, 20)


def sweep(small: Reranker, large: Reranker, pools: Sequence[Pool], *, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each model alone and each cascade: NDCG@10, median latency, and how much went on."""
    margins = _margins(small, pools)
    settings = [(keep, margin) for keep in KEEPS for margin in (*margins, float("inf"))]
    sides: list[tuple[str, Reranker]] = [("small", small), ("large", large)]
    for keep, margin in settings:
        chosen = CascadeSettings(keep=keep, margin=margin)
        sides.append((f"keep {keep}, margin {margin:.3g}", CascadeReranker(small, large, chosen)))
    times: dict[str, list[float]] = {name: [] for name, _ in sides}
    logits: dict[str, list[FloatArray]] = {}
    for _ in range(rounds):
        for name, _reranker in sides:
            logits[name] = []
        for pool in pools:  # the sides in turn on each query: they share the machine's good and bad moments
            for name, reranker in sides:
                began = perf_counter()
                logits[name].append(reranker.score(*pool.pair).logits)
                times[name].append(perf_counter() - began)
    pairs = sum(len(pool.texts) for pool in pools) * rounds
    return [
        {
            "side": name,
            "ndcg@10": ndcg(pools, logits[name]),
            "p50_ms": 1e3 * statistics.median(times[name]),
            "sent_on": reranker.sent_on / pairs if isinstance(reranker, CascadeReranker) else None,
            "early_exits": (
                reranker.early_exits / max(reranker.queries, 1)
                if isinstance(reranker, CascadeReranker)
                else None
            ),
        }
        for name, reranker in sides
    ]


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw latency and NDCG@10, the rows that none beats in both joined by a line.

    Raises:
        MissingDependencyError: the ``bench`` extra is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "bench", "drawing the frontier") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    front = frontier(rows)
    axes.plot([row["p50_ms"] for row in front], [row["ndcg@10"] for row in front], color="tab:blue", zorder=1)
    for row in rows:
        alone = row["side"] in ("small", "large")
        axes.scatter(row["p50_ms"], row["ndcg@10"], color="tab:red" if alone else "tab:blue", zorder=2)
        if alone or row in front:
            axes.annotate(
                str(row["side"]),
                (row["p50_ms"], row["ndcg@10"]),
                fontsize=7,
                xytext=(3, 4),
                textcoords="offset points",
            )
    axes.margins(x=0.15)  # room for the labels on the right
    axes.set_xlabel("median latency of one query, ms")
    axes.set_ylabel("NDCG@10")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def frontier(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that no other row beats in both latency and NDCG@10, fastest first."""
    best, front = float("-inf"), []
    for row in sorted(rows, key=lambda row: (_number(row["p50_ms"]), -_number(row["ndcg@10"]))):
        if _number(row["ndcg@10"]) > best:
            best = _number(row["ndcg@10"])
            front.append(row)
    return front


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"a frontier needs judged data; {value!r} is no number")
    return float(value)


def _margins(small: Reranker, pools: Sequence[Pool]) -> list[float]:
    gaps = [-np.diff(np.sort(small.score(*pool.pair).logits)[::-1]) for pool in pools]
    return [float(value) for value in np.quantile(np.concatenate(gaps), MARGIN_QUANTILES)]
