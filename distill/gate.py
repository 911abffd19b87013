"""The gate between a trained model and the service: is it worse than the one that serves now?

Both models order the same pools.  An answer that the pool lacks is charged to
both sides alike.  One tie rule: score descending, then ``doc_id``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from distill.errors import GateError
from distill.records import CandidateList
from distill.students.protocol import Scorer
from indexing.errors import InputError
from indexing.settings import Section
from retrieval.metrics import Qrels, Report, evaluate

log = logging.getLogger(__name__)

MEASURES = ("MAP", "MRR@10", "NDCG@10")
DECIDES = "NDCG@10"
Domain = Literal["in", "out"]


class GateSettings(Section):
    """How much worse a model may be and still be published."""

    max_drop_in: float = Field(0.0, ge=0, le=1, description="of mean NDCG@10, on data like the training data")
    max_drop_out: float = Field(0.005, ge=0, le=1, description="of mean NDCG@10, on other data")
    max_drop_query: float = Field(0.2, gt=0, le=1, description="a query that falls further counts as broken")
    max_broken: float = Field(0.1, ge=0, le=1, description="largest share of broken queries of a set")
    min_queries: int = Field(10, ge=1, description="a smaller set proves nothing and is refused")
    named: int = Field(5, ge=1, description="queries named in a refusal")


@dataclass(frozen=True, slots=True)
class GateSet:
    """Pools and judgements to compare two models on."""

    name: str
    domain: Domain
    pools: Sequence[CandidateList]
    qrels: Qrels
    relevant_from: int = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueryChange(_Part):
    """One query's NDCG@10 on both sides."""

    query_id: str
    query: str
    before: float
    after: float


class SetReport(_Part):
    """One set's figures."""

    name: str
    domain: Domain
    queries: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    better: int
    equal: int
    worse: int
    broken: int
    most_worse: tuple[QueryChange, ...] = Field(description="largest fall first")
    refusal: str | None = None


class GateReport(_Part):
    """What the gate found, and whether the model may be published."""

    sets: tuple[SetReport, ...]

    @property
    def passed(self) -> bool:
        return all(one.refusal is None for one in self.sets)

    def require(self) -> None:
        """Raise when the model may not be published.

        Raises:
            GateError: with each refused set's reason and the queries that got worse.
        """
        refusals = [one.refusal for one in self.sets if one.refusal is not None]
        if refusals:
            raise GateError("the model is not published: " + "; ".join(refusals))

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        fields = {"passed": self.passed, **self.model_dump(mode="json")}
        path.write_text(json.dumps(fields, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def compare(
    before: Scorer, after: Scorer, sets: Sequence[GateSet], settings: GateSettings | None = None
) -> GateReport:
    """Return the comparison of the model in service with a candidate.

    A set is refused when the mean NDCG@10 falls by more than its domain's
    bound, or when too many of its queries break, or when it has too few.
    Bounds are on the means as they are: a gate that asked for significance
    would let small sets pass anything.

    Raises:
        InputError: no sets, a set without judged pools, a score that is not finite.
    """
    if not sets:
        raise InputError("the gate has nothing to compare on; name a dev set and an out-of-domain set")
    bounds = settings or GateSettings()
    reports = []
    for one in sets:
        sides = [_evaluated(scorer, one) for scorer in (before, after)]
        report = _report(one, sides[0], sides[1], bounds)
        log.info(
            "%s: %s %.4f before, %.4f after, %d queries worse",
            one.name,
            DECIDES,
            report.before[DECIDES],
            report.after[DECIDES],
            report.worse,
        )
        reports.append(report)
    return GateReport(sets=tuple(reports))


def _evaluated(scorer: Scorer, one: GateSet) -> Report:
    judged = {pool.query.query_id for pool in one.pools} & set(one.qrels)
    if not judged:
        raise InputError(f"{one.name} has no judged query among its candidates")
    run: dict[str, Mapping[str, float]] = {}
    for pool in one.pools:
        query_id = pool.query.query_id
        if query_id in judged:
            scores = scorer.score(pool.query.text, [passage.text for passage in pool.passages])
            run[query_id] = _finite(one.name, query_id, pool, np.asarray(scores, dtype=np.float64))
    qrels = {query_id: grades for query_id, grades in one.qrels.items() if query_id in judged}
    return evaluate(run, qrels, MEASURES, relevant_from=one.relevant_from)


def _finite(
    name: str, query_id: str, pool: CandidateList, scores: npt.NDArray[np.float64]
) -> dict[str, float]:
    if scores.shape != (len(pool.passages),) or not np.isfinite(scores).all():
        raise InputError(f"{name}, query {query_id}: {len(pool.passages)} finite scores were expected")
    return {passage.doc_id: float(score) for passage, score in zip(pool.passages, scores, strict=True)}


def _report(one: GateSet, before: Report, after: Report, bounds: GateSettings) -> SetReport:
    texts = {pool.query.query_id: pool.query.text for pool in one.pools}
    changes = [
        QueryChange(
            query_id=query_id, query=texts[query_id], before=was, after=after.per_query[DECIDES][query_id]
        )
        for query_id, was in before.per_query[DECIDES].items()
    ]
    falls = sorted(
        (change for change in changes if change.after < change.before),
        key=lambda change: (change.after - change.before, change.query_id),
    )
    broken = sum(change.before - change.after > bounds.max_drop_query for change in falls)
    report = SetReport(
        name=one.name,
        domain=one.domain,
        queries=len(changes),
        before=before.means,
        after=after.means,
        better=sum(change.after > change.before for change in changes),
        equal=sum(change.after == change.before for change in changes),
        worse=len(falls),
        broken=broken,
        most_worse=tuple(falls[: max(bounds.named, 20)]),
    )
    return report.model_copy(update={"refusal": _refusal(report, bounds)})


def _refusal(report: SetReport, bounds: GateSettings) -> str | None:
    """The reason this set refuses the model, with the queries that fell most; None where it does not."""
    if report.queries < bounds.min_queries:
        return f"{report.name} has {report.queries} judged queries, gate.min_queries is {bounds.min_queries}"
    allowed = bounds.max_drop_in if report.domain == "in" else bounds.max_drop_out
    drop = report.before[DECIDES] - report.after[DECIDES]
    if drop > allowed + 1e-12:
        reason = (
            f"{report.name} ({report.domain} domain): {DECIDES} falls from {report.before[DECIDES]:.4f} "
            f"to {report.after[DECIDES]:.4f}, {drop:.4f} where {allowed} is allowed"
        )
    elif report.broken > bounds.max_broken * report.queries:
        reason = (
            f"{report.name} ({report.domain} domain): {report.broken} of {report.queries} queries fall by "
            f"more than {bounds.max_drop_query}, the bound is {bounds.max_broken:.0%}"
        )
    else:
        return None
    named = ", ".join(
        f"{change.query_id} {change.query!r} {change.before:.3f} -> {change.after:.3f}"
        for change in report.most_worse[: bounds.named]
    )
    return f"{reason}; worst: {named}"
