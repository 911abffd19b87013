"""Ranking measures over ir_measures (trec_eval's own code): MAP, MRR@k, NDCG@k, Recall@k, P@k.

One tie rule, everywhere: score descending, then ``doc_id`` ascending.  trec_eval
breaks ties the other way and compares scores as 32-bit floats, so rankings are
handed over with strictly descending whole numbers instead of scores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from indexing.errors import InputError, MissingDependencyError

Run = Mapping[str, Mapping[str, float]]
Qrels = Mapping[str, Mapping[str, int]]

DEFAULT_MEASURES = ("MAP", "MRR@10", "NDCG@10", "Recall@100")

_MEASURE = re.compile(r"(MAP|MRR|NDCG|Recall|P)(?:@([1-9][0-9]{0,5}))?")
_NEEDS_CUTOFF = ("Recall", "P")


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of one run.

    Attributes:
        per_query: measure -> query_id -> score, for every judged query.
        means: measure -> mean over all judged queries; a query that returned
            nothing counts 0.
        unanswered: judged queries for which the run has no document.
    """

    per_query: Mapping[str, Mapping[str, float]]
    means: Mapping[str, float]
    unanswered: tuple[str, ...]


def evaluate(
    run: Run, qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES, *, relevant_from: int = 1
) -> Report:
    """Return a run's scores per query and on average over all judged queries.

    Args:
        run: query_id -> doc_id -> score, higher is better.  Queries without
            judgements are left out; judged queries without results count 0.
        qrels: query_id -> doc_id -> grade; a document not listed has grade 0.
        measures: ``MAP``, ``MRR``, ``NDCG`` (each with ``@k`` or without),
            ``Recall@k``, ``P@k``.
        relevant_from: least grade that counts as relevant in MAP, MRR, Recall
            and P.  NDCG uses the grades as linear gains, discounted by
            log2(rank + 1), as trec_eval does.

    Raises:
        InputError: an unknown measure, no judged query, a score that is not finite.
        MissingDependencyError: ir-measures is not installed.

    >>> report = evaluate({"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1}}, ["MRR@10", "NDCG@10"])
    >>> report.means["MRR@10"], round(report.means["NDCG@10"], 4)
    (0.5, 0.6309)
    """
    if not qrels:
        raise InputError("there are no judged queries to evaluate")
    library = _library()
    named = {name: _measure(library, name, relevant_from) for name in measures}
    ranked = {query_id: ranking(run[query_id]) for query_id in qrels if run.get(query_id)}
    scored = {
        query_id: {doc_id: float(len(documents) - place) for place, doc_id in enumerate(documents)}
        for query_id, documents in ranked.items()
    }
    judged = {query_id: dict(grades) for query_id, grades in qrels.items()}
    found: dict[Any, dict[str, float]] = {measure: dict.fromkeys(qrels, 0.0) for measure in named.values()}
    if scored:
        for metric in library.iter_calc(list(found), judged, scored):
            found[metric.measure][metric.query_id] = float(metric.value)
    per_query = {name: found[measure] for name, measure in named.items()}
    return Report(
        per_query=per_query,
        means={name: math.fsum(scores.values()) / len(scores) for name, scores in per_query.items()},
        unanswered=tuple(query_id for query_id in qrels if query_id not in ranked),
    )


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Return document ids by score descending, then id ascending.

    Raises:
        InputError: a score that is not finite has no place in an order.
    """
    for doc_id, score in scores.items():
        if not math.isfinite(score):
            raise InputError(f"document {doc_id!r} has the score {score}; a run needs finite scores")
    return sorted(scores, key=lambda doc_id: (-scores[doc_id], doc_id))


def _measure(library: ModuleType, name: str, relevant_from: int) -> Any:
    """Our name as an ir_measures object."""
    match = _MEASURE.fullmatch(name)
    if match is None or (match.group(1) in _NEEDS_CUTOFF and match.group(2) is None):
        raise InputError(
            f"measure {name!r} is not known; accepted: MAP, MRR, NDCG (each also @k), Recall@k, P@k"
        )
    family, cutoff = match.groups()
    if family == "NDCG":
        measure = library.nDCG
    else:
        ours = {"MAP": library.AP, "MRR": library.RR, "Recall": library.R, "P": library.P}
        measure = ours[family](rel=relevant_from)
    return measure @ int(cutoff) if cutoff else measure


def _library() -> ModuleType:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError("ir-measures", "bench", "computing ranking measures") from error
    module: ModuleType = ir_measures
    return module
