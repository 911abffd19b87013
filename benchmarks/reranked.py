"""``python -m benchmarks.reranked --data DIR``: the service's own search, not reranked and reranked.

A judged set is indexed as a user would index it and each query is searched as
the service does it, hybrid candidates and windows included.  The reranker
runs once a query; its logits are then ranked alone, blended with the fused
score by the default weight, and by the weights named with ``--weight``.  A
document's place is its best passage's.  Queries in Latin script and in others
are shown apart: in a mixed folder no language may lose.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.beir import JudgedSet, load_beir, load_pairs
from benchmarks.provenance import provenance
from benchmarks.quality import build_index, sample
from indexing.errors import WinnowError
from indexing.languages import coverage
from indexing.settings import Settings, load_settings
from retrieval.metrics import evaluate
from retrieval.opening import ModelThread
from retrieval.records import SearchRequest, SearchResponse
from retrieval.rerank import load_reranker
from retrieval.reranker import RerankScores
from retrieval.search import Searcher
from retrieval.significance import bootstrap_interval, randomisation_test

MEASURE = "NDCG@10"
EXIT_REFUSED = 2
_LATIN = frozenset({"Latin"})

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to order the candidates: its name and weight of the fused score, None for the default."""

    name: str
    rerank: bool
    weight: float | None = None


class Once:
    """A reranker's scores, computed once for one query and its texts, whoever asks."""

    def __init__(self, models: ModelThread) -> None:
        self._models = models
        self._last: tuple[str, tuple[str, ...]] | None = None
        self._scores: RerankScores | None = None

    async def __call__(self, query: str, texts: Sequence[str]) -> RerankScores:
        asked = (query, tuple(texts))
        if self._scores is None or asked != self._last:
            self._scores, self._last = await self._models.rerank(query, texts), asked
        return self._scores


async def ask(judged: JudgedSet, settings: Settings, ways: Sequence[Way]) -> dict[str, dict[str, float]]:
    """Return each way's NDCG@10 by query."""
    from indexing.catalog import open_catalog
    from indexing.catalog.lifecycle import AVERAGE_KEY
    from indexing.collection import open_collection
    from indexing.encoders import load_encoders
    from indexing.session import spec_of

    catalog = open_catalog(settings)
    average = catalog.meta(AVERAGE_KEY)
    encoders = load_encoders(settings.encoders, average_length=None if average is None else float(average))
    collection = await open_collection(settings, spec_of(encoders))
    models = ModelThread(
        encoders, load_reranker(settings.rerank, settings.home), settings.rerank.min_coverage
    )
    once = Once(models)
    searchers = {
        way.name: Searcher(
            collection,
            catalog,
            models.embed_query,
            retrieval=settings.retrieval,
            # A benchmark's machine may be slow: a degraded answer would be counted as the model's.
            reranking=settings.rerank.model_copy(update={"fused_weight": way.weight, "timeout_s": 120.0}),
            coverage=encoders.coverage,
            min_coverage=settings.encoders.min_coverage,
            rerank=once,
        )
        for way in ways
    }
    runs: dict[str, dict[str, dict[str, float]]] = {way.name: {} for way in ways}
    try:
        for query_id, query in judged.queries.items():
            for way in ways:
                request = SearchRequest(query, rerank=way.rerank, top_n=settings.rerank.candidates)
                response = await searchers[way.name].search(request)
                if response.receipt.degraded:
                    raise WinnowError(f"query {query_id} was degraded: {response.receipt.degraded[0]}")
                runs[way.name][query_id] = places(response)
    finally:
        models.close()
        await collection.close()
        catalog.close()
    return {
        name: dict(evaluate(run, judged.qrels, [MEASURE]).per_query[MEASURE]) for name, run in runs.items()
    }


def places(response: SearchResponse) -> dict[str, float]:
    """Return documents by their best passage's place: scores of two stages share no scale."""
    found: dict[str, float] = {}
    for place, one in enumerate(response.results):
        found.setdefault(one.doc_id, float(-place))
    return found


def groups(judged: JudgedSet) -> dict[str, list[str]]:
    """Return the judged queries, all and by whether most of their letters are Latin."""
    latin = [
        one for one, text in judged.queries.items() if one in judged.qrels and coverage(text, _LATIN) >= 0.5
    ]
    other = [one for one in judged.queries if one in judged.qrels and one not in set(latin)]
    found = {"all": latin + other}
    return found | {"Latin script": latin, "other scripts": other} if latin and other else found


def compared(judged: JudgedSet, scores: dict[str, dict[str, float]], seed: int) -> list[dict[str, Any]]:
    """Return a row for each group and way: the mean, its interval, and the change against the first way."""
    first = next(iter(scores))
    rows = []
    for group, ids in groups(judged).items():
        before = [scores[first][one] for one in ids]
        for name, per_query in scores.items():
            after = [per_query[one] for one in ids]
            low, high = bootstrap_interval(after, seed)
            mean = sum(after) / len(after)
            rows.append(
                {
                    "group": group,
                    "queries": len(ids),
                    "way": name,
                    "ndcg@10": round(mean, 4),
                    "interval_95": [round(low, 4), round(high, 4)],
                    "change": round(mean - sum(before) / len(before), 4),
                    "p": None if name == first else round(randomisation_test(after, before, seed), 4),
                }
            )
    return rows


def table(judged: JudgedSet, rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        f"{judged.name} ({judged.checksum}): {judged.documents} documents",
        "",
        "| queries | ranking | NDCG@10 (95%) | change | p |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["interval_95"]
        p = "-" if row["p"] is None else f"{row['p']:.4f}"
        lines.append(
            f"| {row['group']}, {row['queries']} | {row['way']} | {row['ndcg@10']:.3f} "
            f"({low:.3f}-{high:.3f}) | {row['change']:+.4f} | {p} |"
        )
    return "\n".join(lines)


@app.command()
def main(
    data: Annotated[list[Path] | None, typer.Option(help="A folder in the BEIR layout; repeatable.")] = None,
    pairs: Annotated[list[Path] | None, typer.Option(help="A folder of question-passage pairs.")] = None,
    weight: Annotated[list[float] | None, typer.Option(min=0, help="Other weights to try.")] = None,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Draw this many queries.")] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals, the test and the draw.")] = 20,
    out: Annotated[Path | None, typer.Option(help="File for rows and provenance.")] = None,
) -> None:
    """Compare the fused order with the reranker's, alone and blended."""
    logging.basicConfig(level="ERROR", stream=sys.stderr)
    ways = [Way("fused order", rerank=False), Way("reranker alone", True, 0.0), Way("blended, default", True)]
    ways += [Way(f"blended, {one:g}", True, one) for one in weight or ()]
    results = []
    try:
        sets = [load_beir(folder) for folder in data or ()] + [load_pairs(folder) for folder in pairs or ()]
        if not sets:
            raise WinnowError("name at least one folder with --data or --pairs")
        for judged in (sample(one, max_queries, seed) for one in sets):
            with tempfile.TemporaryDirectory(prefix="winnow-reranked-", ignore_cleanup_errors=True) as home:
                settings = load_settings(home=Path(home), collection={"idle_exit_s": 1.0})
                build_index(judged, settings)
                rows = compared(judged, asyncio.run(ask(judged, settings, ways)), seed)
            typer.echo(table(judged, rows) + "\n")
            results.append({"name": judged.name, "checksum": judged.checksum, "rows": rows})
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    if out is not None:
        record = {**provenance(), "seed": seed, "sets": results}
        out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
