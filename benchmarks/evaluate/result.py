"""Everything that one evaluation found, as the JSON that ``report.json`` holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.evaluate.compare import Change, change, compare, corrected
from benchmarks.evaluate.measure import MEASURES, Row
from benchmarks.evaluate.sets import PooledSet
from benchmarks.provenance import provenance
from indexing.settings import Settings

FORMAT = 1
MEASURE = "NDCG@10"
FIRST_STAGE, BEFORE, AFTER = "first-stage", "before", "after"
MOST_CHANGED = 10
TIE_RULE = "score descending, then doc_id ascending"


@dataclass(frozen=True, slots=True)
class SetResult:
    """One set: its rows, the change in each measure, and ``after`` against every other row."""

    pooled: PooledSet
    rows: Sequence[Row]
    changes: Sequence[Change]
    versus: Mapping[str, Change]

    def row(self, name: str) -> Row:
        return next(one for one in self.rows if one.name == name)

    def change(self, measure: str) -> Change:
        return next(one for one in self.changes if one.measure == measure)

    def most_changed(self) -> list[tuple[str, float]]:
        """The queries whose NDCG@10 changed most, largest change first; unchanged ones are left out."""
        differences = self.change(MEASURE).differences
        ranked = sorted(differences, key=lambda one: (-abs(differences[one]), one))[:MOST_CHANGED]
        return [(one, differences[one]) for one in ranked if differences[one]]

    def groups(self) -> dict[str, dict[str, list[str]]]:
        """Key -> value -> query_ids, for the keys that tell queries apart."""
        found: dict[str, dict[str, list[str]]] = {}
        for query_id in self.pooled.queries:
            for key, value in self.pooled.groups.get(query_id, {}).items():
                found.setdefault(key, {}).setdefault(value, []).append(query_id)
        return {key: values for key, values in sorted(found.items()) if len(values) > 1}


def compared(pooled: PooledSet, rows: Sequence[Row], seed: int) -> SetResult:
    """Return the rows with what sets ``after`` apart from ``before`` and from the rest."""
    reports = {row.name: row.report for row in rows}
    others = [name for name in reports if name != AFTER]
    against = corrected([change(reports[name], reports[AFTER], MEASURE, seed) for name in others])
    return SetResult(
        pooled,
        rows,
        compare(reports[BEFORE], reports[AFTER], MEASURES, seed),
        dict(zip(others, against, strict=True)),
    )


def as_json(results: Sequence[SetResult], settings: Settings, seed: int) -> dict[str, Any]:
    """Return ``report.json``: the first set's rows on top, every set below, and how it all came to be."""
    return {
        "format": FORMAT,
        "rows": _rows(results[0]),
        "sets": [_set(result) for result in results],
        "provenance": {
            **provenance(),
            "seed": seed,
            "threads": settings.rerank.threads or "automatic",
            "load_average": [round(one, 2) for one in os.getloadavg()],
            "warm_up": "one untimed query a system",
            "order": "systems turn by turn on every query, reversed on every other one",
            "tie_rule": TIE_RULE,
            "interval": "paired bootstrap, BCa, 95%, 9,999 resamples",
            "test": "paired randomisation, two-sided, 10,000 rounds, Holm",
            "settings": settings.model_dump(mode="json", include={"encoders", "retrieval", "rerank"}),
        },
    }


def _rows(result: SetResult) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            **{measure.lower(): row.report.means[measure] for measure in MEASURES},
            "model": row.model,
            "kind": row.kind,
            "revision": row.revision,
            "pairs": row.pairs,
            "pairs_per_second": row.pairs_per_second,
            "truncated": row.truncated,
            "stepped_aside": row.stepped_aside,
            "unanswered": list(row.report.unanswered),
        }
        for row in result.rows
    ]


def _set(result: SetResult) -> dict[str, Any]:
    pooled = result.pooled
    return {
        "name": pooled.name,
        "in_domain": pooled.in_domain,
        "checksum": pooled.checksum,
        "queries": len(pooled.queries),
        "first_stage": pooled.first_stage,
        "pool_recall": pooled.pool_recall,
        "relevant_from": pooled.relevant_from,
        "rows": _rows(result),
        "changes": {one.measure.lower(): _change(one) for one in result.changes},
        "after_against": {name: _change(one) for name, one in result.versus.items()},
        "groups": {
            key: {value: _group(result, queries) for value, queries in values.items()}
            for key, values in result.groups().items()
        },
        "most_changed": [
            {"query_id": query_id, "query": pooled.queries[query_id], "difference": difference}
            for query_id, difference in result.most_changed()
        ],
        "per_query": {
            row.name: {measure.lower(): dict(scores) for measure, scores in row.report.per_query.items()}
            for row in result.rows
        },
    }


def _change(one: Change) -> dict[str, Any]:
    return {
        "measure": one.measure.lower(),
        "before": one.before,
        "after": one.after,
        "absolute": one.difference,
        "relative": one.relative,
        "ci95": [one.low, one.high],
        "p": one.p,
        "p_holm": one.p_holm,
        "wins": one.wins,
        "ties": one.ties,
        "losses": one.losses,
    }


def group_means(result: SetResult, queries: Sequence[str]) -> dict[str, float]:
    """Return row name -> mean NDCG@10 over some of the queries."""
    return {
        row.name: sum(row.report.per_query[MEASURE][one] for one in queries) / len(queries)
        for row in result.rows
    }


def _group(result: SetResult, queries: Sequence[str]) -> dict[str, Any]:
    return {"queries": len(queries), MEASURE.lower(): group_means(result, queries)}
