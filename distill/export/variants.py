"""The export's gate: a variant stays when it ranks as well as fp32 and runs faster, in one run.

int8 and bf16 are not faster everywhere and not harmless everywhere (dynamic
int8 of a small cross-encoder correlates .94 with its source), so neither is
taken on trust.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from distill.errors import GateError
from distill.export.pools import Pool, ranked_grades
from indexing.encoders.manifest import INT8_MODEL
from indexing.errors import EncoderError, MissingDependencyError
from indexing.settings import RerankSettings
from retrieval.exported_manifest import PrecisionOf, RuntimeOf, Variant
from retrieval.metrics import evaluate
from retrieval.rerank import load_folder
from retrieval.reranker import Reranker

logger = logging.getLogger(__name__)

MEASURE = "NDCG@10"
# The reference first, then what is worth a try.  ONNX Runtime reads int8 weights
# from a file of their own, OpenVINO rounds the graph's.
CANDIDATES: tuple[tuple[RuntimeOf, PrecisionOf], ...] = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
)


@dataclass(frozen=True, slots=True)
class GateBounds:
    """``max_loss`` of NDCG@10 against fp32; ``rounds`` over all pools, variants in turn."""

    max_loss: float = 0.005
    rounds: int = 3


def measure_variants(folder: Path, pools: Sequence[Pool], bounds: GateBounds) -> tuple[Variant, ...]:
    """Return every variant with its figures and the verdict, the fastest kept one first.

    The reference is fp32 on the first engine that is installed.  Pools that
    nobody judged are judged by the reference: its own first places are right.

    Raises:
        GateError: no pool has anything to rank.
    """
    pools = [one for one in pools if len(one.texts) > 1]
    if not pools:
        raise GateError("the gate's data has no query with two candidates")
    loaded: dict[tuple[RuntimeOf, PrecisionOf], Reranker] = {}
    missing: list[Variant] = []
    for runtime, precision in CANDIDATES:
        try:
            loaded[runtime, precision] = _open(folder, runtime, precision)
        except (EncoderError, MissingDependencyError) as error:
            missing.append(Variant(runtime=runtime, precision=precision, kept=False, why=str(error)))
    reference = next(iter(loaded))
    runs, seconds = _run(loaded, pools, bounds.rounds)
    qrels = {one.query_id: one.grades or _own_grades(runs[reference][one.query_id]) for one in pools}
    pairs = sum(len(one.texts) for one in pools)
    quality = {key: evaluate(run, qrels, [MEASURE]).means[MEASURE] for key, run in runs.items()}
    speed = {key: pairs / statistics.median(times) for key, times in seconds.items()}
    found = []
    for key in loaded:
        lost = quality[reference] - quality[key]
        ratio = speed[key] / speed[reference]
        kept = key == reference or (lost <= bounds.max_loss and ratio > 1)
        why = f"{MEASURE} {quality[key]:.4f} ({-lost:+.4f}), {speed[key]:.0f} pairs/s ({ratio:.2f} x fp32)"
        if key == reference:
            why = f"the reference: {MEASURE} {quality[key]:.4f}, {speed[key]:.0f} pairs/s"
        elif lost > bounds.max_loss:
            why += f": loses more than {bounds.max_loss}"
        elif ratio <= 1:
            why += ": not faster"
        logger.info("%s %s: %s", *key, why)
        figures = {"ndcg_at_10": round(quality[key], 5), "pairs_per_second": round(speed[key], 1)}
        found.append(Variant(runtime=key[0], precision=key[1], kept=kept, why=why, **figures))
    found.sort(key=lambda one: (not one.kept, -(one.pairs_per_second or 0)))
    return (*found, *missing)


def _open(folder: Path, runtime: RuntimeOf, precision: PrecisionOf) -> Reranker:
    if find_spec(runtime) is None:
        raise MissingDependencyError(runtime, runtime, "measuring this variant")
    if (runtime, precision) == ("onnxruntime", "int8") and not (folder / INT8_MODEL).is_file():
        raise EncoderError("no int8 weights were made")
    return load_folder(folder, RerankSettings(runtime=runtime, precision=precision, max_tokens=8192))


def _run(
    loaded: dict[tuple[RuntimeOf, PrecisionOf], Reranker], pools: Sequence[Pool], rounds: int
) -> tuple[
    dict[tuple[RuntimeOf, PrecisionOf], dict[str, dict[str, float]]],
    dict[tuple[RuntimeOf, PrecisionOf], list[float]],
]:
    """Score every pool with every variant, in turn within a round, so that a busy machine slows all."""
    runs: dict[tuple[RuntimeOf, PrecisionOf], dict[str, dict[str, float]]] = {key: {} for key in loaded}
    seconds: dict[tuple[RuntimeOf, PrecisionOf], list[float]] = {key: [] for key in loaded}
    for model in loaded.values():  # the first call prepares shapes
        model.score(pools[0].query, list(pools[0].texts.values()))
    for _ in range(rounds):
        for key, model in loaded.items():
            began = perf_counter()
            for pool in pools:
                scores = model.score(pool.query, list(pool.texts.values()))
                logits = (float(logit) for logit in scores.logits)
                runs[key][pool.query_id] = dict(zip(pool.texts, logits, strict=True))
            seconds[key].append(perf_counter() - began)
    return runs, seconds


def _own_grades(scores: dict[str, float]) -> dict[str, int]:
    return dict(zip(scores, ranked_grades(list(scores.values())), strict=True))
