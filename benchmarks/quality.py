"""``python -m benchmarks.quality --data DIR``: ranking quality, end to end through the index.

A judged set is indexed as a user would index it (the real reader, splitter,
encoders and embedded engine, in a temporary home), then every judged query is
asked in each mode.  A document's place is its best sentence's.  ``--mixed``
puts several sets into one index and also shows the questions of each apart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import typer

from benchmarks.beir import JudgedSet, load_beir, load_pairs, together
from benchmarks.lists import load_lists
from benchmarks.provenance import provenance
from indexing.errors import WinnowError
from indexing.records import Mode
from indexing.settings import Settings, load_settings
from retrieval.metrics import DEFAULT_MEASURES, Report, evaluate
from retrieval.records import SearchRequest
from retrieval.search import Searcher
from retrieval.significance import bootstrap_interval, randomisation_test

MODES: tuple[Mode, ...] = ("dense", "sparse", "hybrid")
MEASURE = "NDCG@10"
EXIT_REFUSED = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

UnitName = Literal["sentence", "document"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One mode over all queries: the run and its evaluation."""

    run: dict[str, dict[str, float]]
    report: Report


def build_index(judged: JudgedSet, settings: Settings) -> dict[str, object]:
    """Index the corpus into the settings' home and return what it took."""
    from indexing.ingest import add_paths
    from indexing.session import Index

    with Index.open(settings) as index:
        report = add_paths(index, [judged.corpus])
        if report.failures:
            raise WinnowError(f"{judged.corpus} was not indexed: {report.failures[0][1]}")
        info = index.bridge(index.collection.info)
    return {
        "documents": report.documents,
        "sentences": report.sentences,
        "seconds": round(report.seconds, 2),
        "sentences_per_second": round(report.rate, 1),
        "disk_bytes": info.disk_bytes,
    }


async def ask(judged: JudgedSet, settings: Settings, top_k: int) -> dict[Mode, Asked]:
    """Return every mode's run over the judged queries, ``top_k`` candidates a side."""
    asked: dict[Mode, Asked] = {}
    async with await Searcher.open(settings) as searcher:
        for mode in MODES:
            run: dict[str, dict[str, float]] = {}
            for query_id, query in judged.queries.items():
                response = await searcher.search(
                    SearchRequest(query, mode=mode, top_k=top_k, top_n=top_k, window_size=0, rerank=False)
                )
                run[query_id] = best_sentence([(one.doc_id, one.score) for one in response.results])
            asked[mode] = Asked(run, evaluate(run, judged.qrels, DEFAULT_MEASURES))
            typer.echo(f"{judged.name}: {mode} done", err=True)
    return asked


def best_sentence(results: list[tuple[str, float]]) -> dict[str, float]:
    """Return each document's score: the highest of its sentences'."""
    scores: dict[str, float] = {}
    for doc_id, score in results:
        scores[doc_id] = max(score, scores.get(doc_id, score))
    return scores


def summary(asked: dict[Mode, Asked], seed: int) -> dict[str, object]:
    """Return means with intervals, and hybrid against the better side, paired."""
    modes: dict[str, object] = {}
    for mode, one in asked.items():
        per_query = one.report.per_query
        modes[mode] = {
            "means": {name: round(mean, 4) for name, mean in one.report.means.items()},
            "intervals_95": {
                name: [round(edge, 4) for edge in bootstrap_interval(list(scores.values()), seed)]
                for name, scores in per_query.items()
            },
            "unanswered": len(one.report.unanswered),
            "per_query": {name: dict(scores) for name, scores in per_query.items()},
        }
    return {"modes": modes, "hybrid_against": against(asked, _queries(asked), seed)}


def against(asked: dict[Mode, Asked], queries: Sequence[str], seed: int) -> dict[str, object]:
    """Return hybrid search against the side that is better over these queries, paired."""
    scores = {
        mode: [one.report.per_query[MEASURE][query_id] for query_id in queries] for mode, one in asked.items()
    }
    means = {mode: fmean(values) for mode, values in scores.items()}
    better: Mode = max(("dense", "sparse"), key=means.__getitem__)
    return {
        "side": better,
        "measure": MEASURE,
        "means": {mode: round(mean, 4) for mode, mean in means.items()},
        "difference": round(means["hybrid"] - means[better], 4),
        "p": round(randomisation_test(scores["hybrid"], scores[better], seed), 4),
    }


def _queries(asked: dict[Mode, Asked]) -> list[str]:
    return list(asked["hybrid"].report.per_query[MEASURE])


def by_set(asked: dict[Mode, Asked], seed: int) -> dict[str, dict[str, object]]:
    """Return :func:`against` for the questions of each set of several together."""
    queries: dict[str, list[str]] = {}
    for query_id in _queries(asked):
        queries.setdefault(query_id.partition("/")[0], []).append(query_id)
    return {name: against(asked, found, seed) for name, found in queries.items()}


def table(result: dict[str, Any]) -> str:
    """Return the result as a Markdown table with its facts above it."""
    data, index = result["dataset"], result["index"]
    new = f"{index['sentences']} points at {index['sentences_per_second']} a second"
    lines = [
        f"{data['name']} ({data['checksum']}): {data['documents']} documents, {data['queries']} queries, "
        f"unit {result['unit']}, {new if index['sentences'] else 'index reused'}",
        "",
        "| | " + " | ".join(DEFAULT_MEASURES) + " |",
        "|---" * (len(DEFAULT_MEASURES) + 1) + "|",
    ]
    for mode, one in result["modes"].items():
        cells = []
        for name, mean in one["means"].items():
            low, high = one["intervals_95"][name]
            cells.append(f"{mean:.3f} ({low:.3f}-{high:.3f}) |")
        lines.append(" ".join([f"| {mode} |", *cells]))
    lines += ["", _gain(result["hybrid_against"])]
    for name, part in result.get("sets", {}).items():
        means = ", ".join(f"{mode} {mean:.3f}" for mode, mean in part["means"].items())
        lines.append(f"questions of {name}: {means}; {_gain(part)}")
    if "bm25s" in result:
        peer = result["bm25s"]
        lines.append(f"bm25s on the same terms: {peer['ours']:.4f} against {peer['bm25s']:.4f} {MEASURE}")
    return "\n".join(lines)


def _gain(part: dict[str, Any]) -> str:
    return f"hybrid against {part['side']}: {part['difference']:+.4f} {part['measure']}, p {part['p']}"


def measure(
    judged: JudgedSet, settings: Settings, top_k: int, seed: int, *, compare: bool, mixed: bool
) -> dict[str, Any]:
    """Return everything that a result file holds for one set."""
    index = build_index(judged, settings)
    asked = asyncio.run(ask(judged, settings, top_k))
    result: dict[str, Any] = {
        **provenance(),
        "dataset": {
            "name": judged.name,
            "checksum": judged.checksum,
            "documents": judged.documents,
            "queries": len(judged.qrels),
        },
        "unit": settings.indexing.unit,
        "seed": seed,
        "top_k": top_k,
        "settings": settings.model_dump(mode="json", include={"encoders", "indexing", "retrieval"}),
        "index": index,
        **summary(asked, seed),
    }
    if mixed:
        result["sets"] = by_set(asked, seed)
    if compare:
        from benchmarks.bm25_peer import peer_run

        peer = evaluate(peer_run(judged.queries, settings, top_k), judged.qrels, [MEASURE]).means[MEASURE]
        result["bm25s"] = {"ours": asked["sparse"].report.means[MEASURE], "bm25s": peer, "measure": MEASURE}
    return result


def sample(judged: JudgedSet, most: int | None, seed: int) -> JudgedSet:
    """Return the set with at most ``most`` queries, drawn by the seed."""
    if most is None or most >= len(judged.queries):
        return judged
    kept = sorted(random.Random(seed).sample(sorted(judged.queries), most))  # noqa: S311
    queries = {query_id: judged.queries[query_id] for query_id in kept}
    qrels = {query_id: judged.qrels[query_id] for query_id in kept}
    return JudgedSet(judged.name, judged.corpus, judged.documents, queries, qrels, judged.checksum)


def _sets(
    data: list[Path] | None,
    pairs: list[Path] | None,
    lists: list[Path] | None,
    qrels: Path | None,
    folder: Path,
) -> list[JudgedSet]:
    """Return the sets that were named; the corpus of lists is written into ``folder``."""
    sets = [load_beir(one) for one in data or ()] + [load_pairs(one) for one in pairs or ()]
    if lists:
        sets.append(load_lists(lists, folder / "lists.jsonl", qrels))
    if not sets:
        raise WinnowError("name at least one set with --data, --pairs or --lists")
    return sets


@app.command()
def main(
    data: Annotated[list[Path] | None, typer.Option(help="A folder in the BEIR layout; repeatable.")] = None,
    pairs: Annotated[list[Path] | None, typer.Option(help="A folder of question-passage pairs.")] = None,
    lists: Annotated[
        list[Path] | None, typer.Option(help="Judged lists of passages, together one set; repeatable.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements of --lists, TREC's format.")] = None,
    unit: Annotated[UnitName, typer.Option(help="What a point is.")] = "sentence",
    top_k: Annotated[int, typer.Option(min=100, max=1000, help="Candidates from each side.")] = 400,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Draw this many queries of a set.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Index all sets as one folder.")] = False,
    compare_bm25s: Annotated[bool, typer.Option("--compare-bm25s", help="Also rank by bm25s.")] = False,
    seed: Annotated[int, typer.Option(help="Of the intervals, the test and the draw.")] = 20,
    keep: Annotated[Path | None, typer.Option(help="Folder that keeps the indexes for the next run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for result files.")] = None,
) -> None:
    """Measure dense, sparse and hybrid search on judged sets."""
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="winnow-quality-", ignore_cleanup_errors=True) as scratch:
            folder = keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            sets = [sample(one, max_queries, seed) for one in _sets(data, pairs, lists, qrels, folder)]
            for judged in [together(sets, folder / "mixed.jsonl")] if mixed else sets:
                # The engine leaves a second after its last client, often after the folder is due to go.
                settings = load_settings(
                    home=folder / f"{judged.name}-{unit}",
                    indexing={"unit": unit},
                    collection={"idle_exit_s": 1.0},
                )
                result = measure(judged, settings, top_k, seed, compare=compare_bm25s, mixed=mixed)
                typer.echo(table(result) + "\n")
                if out is not None:
                    out.mkdir(parents=True, exist_ok=True)
                    path = out / f"quality-{judged.name}-{unit}.json"
                    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error


if __name__ == "__main__":
    app()
