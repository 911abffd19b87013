"""``python -m benchmarks.stored_tokens --data DIR``: what stored token vectors cost and give.

One judged set is indexed with token vectors.  Every query is then asked four
ways in turn, so that their times are neighbours: not reranked, reranked by a
forward pass over the windows, by the stored tokens of the windows' sentences,
and by those of the hit's own sentence.  What the vectors cost on disk is
measured by copying the points into collections with and without them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import typer

from benchmarks.beir import JudgedSet, load_beir
from benchmarks.provenance import provenance
from benchmarks.quality import sample
from indexing.catalog import Catalog
from indexing.collection import Collection, CollectionSpec, drop_collection, open_collection
from indexing.errors import WinnowError
from indexing.records import Embedding, Point, SparseVector
from indexing.settings import Settings, load_settings
from retrieval.metrics import evaluate
from retrieval.opening import ModelThread
from retrieval.passages import Standing
from retrieval.records import SearchRequest, SearchResponse
from retrieval.rerank import load_reranker
from retrieval.reranker import RerankScores
from retrieval.search import Searcher
from retrieval.significance import bootstrap_interval, randomisation_test
from retrieval.stored_tokens import StoredTokens

MEASURE = "NDCG@10"
SEED = 20
EXIT_REFUSED = 2
_NONE = Embedding(None, SparseVector((), ()))

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to rerank: its quality, and its times in milliseconds."""

    name: str
    ndcg: float
    interval: tuple[float, float]
    rerank_p50_ms: float
    query_p50_ms: float
    per_query: dict[str, float]


class SentenceAlone(StoredTokens):
    """Scores a window by the tokens of its hit's own sentence: what windows are compared with."""

    async def score(self, tenant: str, query: str, passages: Sequence[Standing]) -> RerankScores | None:
        narrowed = []
        for one in passages:
            ordinal = one.passage.window.ordinal
            narrowed.append(one._replace(passage=one.passage._replace(first=ordinal, last=ordinal)))
        return await super().score(tenant, query, narrowed)


def smaller(judged: JudgedSet, most: int | None, folder: Path) -> JudgedSet:
    """Return the set over its judged documents and the first others, ``most`` together."""
    if most is None or most >= judged.documents:
        return judged
    import gzip

    wanted = {doc_id for grades in judged.qrels.values() for doc_id in grades}
    opened = gzip.open if judged.corpus.suffix == ".gz" else open
    with opened(judged.corpus, "rt", encoding="utf-8") as lines:
        rows = [line for line in lines if line.strip()]
    kept = [line for line in rows if str(json.loads(line)["_id"]) in wanted]
    others = [line for line in rows if str(json.loads(line)["_id"]) not in wanted]
    kept += others[: max(most - len(kept), 0)]
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(kept), encoding="utf-8")
    return replace(judged, corpus=corpus, documents=len(kept))


def build(judged: JudgedSet, settings: Settings) -> dict[str, Any]:
    """Index the corpus with token vectors, and time both kinds of encoding on some sentences."""
    from indexing.encoders.token_pair import tokens_of
    from indexing.ingest import add_paths
    from indexing.session import Index

    with Index.open(settings) as index:
        report = add_paths(index, [judged.corpus])
        if report.failures:
            raise WinnowError(f"{judged.corpus} was not indexed: {report.failures[0][1]}")
        texts = [
            str(row.payload["text"])
            for row in next(iter(index.bridge.iterate(index.collection.scroll, tenant=None, batch=256)))
        ]
        tokens = tokens_of(index.encoders)
        if tokens is None:
            raise WinnowError("this benchmark needs encoders.late_interaction")
        began = perf_counter()
        index.encoders.embed_documents(texts)
        between = perf_counter()
        tokens.encode(texts)
        ended = perf_counter()
    return {
        "sentences": report.sentences,
        "seconds": round(report.seconds, 1),
        "pair_sentences_per_second": round(len(texts) / (between - began), 1),
        "tokens_sentences_per_second": round(len(texts) / (ended - between), 1),
    }


async def storage(settings: Settings) -> list[dict[str, Any]]:
    """Return what the same points take on disk without, with 8-bit and with 16-bit token vectors."""
    source = await open_collection(settings, None)
    rows: list[dict[str, Any]] = []
    plain = replace(source.spec, token_fingerprint="", token_dimensions=0, pooled_dimensions=0)
    for name, spec, kept in (
        ("none", plain, "8bit"),
        ("8bit", source.spec, "8bit"),
        ("16bit", source.spec, "16bit"),
    ):
        with tempfile.TemporaryDirectory(prefix="winnow-tokens-", ignore_cleanup_errors=True) as folder:
            target = load_settings(
                home=Path(folder),
                collection={"idle_exit_s": 1.0, "tokens_format": kept, "optimize_after": 0},
            )
            rows.append({"tokens": name, **await _copied(source, target, spec)})
            await drop_collection(target)
    await source.close()
    return rows


async def _copied(source: Collection, settings: Settings, spec: CollectionSpec) -> dict[str, Any]:
    target = await open_collection(settings, spec)
    count = tokens = 0
    async for page in source.scroll(tenant=None, with_vectors=True):
        points = []
        for row in page:
            embedding = row.embedding or _NONE
            tokens += 0 if embedding.tokens is None else len(embedding.tokens.tokens)
            if not spec.token_dimensions:
                embedding = replace(embedding, tokens=None)
            points.append(Point(row.id, embedding, row.payload))
        await target.upsert(points)
        count += len(points)
    await target.optimize(wait=True)
    info = await target.info()
    await target.close()
    log_bytes = _log_bytes(settings.home)
    return {
        "points": count,
        "tokens_per_sentence": round(tokens / count, 1),
        "bytes_per_sentence": round(((info.disk_bytes or 0) - log_bytes) / count),
        "token_bytes_per_sentence": round((info.token_bytes or 0) / count),
        "log_bytes": log_bytes,
    }


def _log_bytes(home: Path) -> int:
    """Bytes of the engine's write-ahead log: bounded, so no part of what a sentence costs."""
    return sum(path.stat().st_blocks * 512 for path in home.rglob("wal/*") if path.is_file())


async def ask(judged: JudgedSet, settings: Settings, window_size: int) -> list[Row]:
    """Ask every query in every way, the ways in turn."""
    from indexing.catalog import open_catalog
    from indexing.catalog.lifecycle import AVERAGE_KEY
    from indexing.encoders import load_encoders
    from indexing.session import spec_of

    catalog = open_catalog(settings)
    average = catalog.meta(AVERAGE_KEY)
    encoders = load_encoders(settings.encoders, average_length=None if average is None else float(average))
    collection = await open_collection(settings, spec_of(encoders))
    models = ModelThread(
        encoders, load_reranker(settings.rerank, settings.home), settings.rerank.min_coverage
    )
    stored = models.stored_tokens(collection, settings.encoders.min_coverage)
    if stored is None:
        raise WinnowError("this benchmark needs encoders.late_interaction")
    alone = SentenceAlone(stored.collection, stored.encode_query, settings.rerank.min_coverage)
    ways: dict[str, tuple[Searcher, bool]] = {
        "not reranked": (_searcher(settings, collection, catalog, models, None), False),
        "forward pass": (_searcher(settings, collection, catalog, models, None), True),
        "stored tokens": (_searcher(settings, collection, catalog, models, stored), True),
        "stored tokens, the hit's sentence alone": (
            _searcher(settings, collection, catalog, models, alone),
            True,
        ),
    }
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ways}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number, (query_id, query) in enumerate(judged.queries.items()):
        for name, (searcher, rerank) in ways.items():
            request = SearchRequest(query, rerank=rerank, top_n=30, window_size=window_size)
            began = perf_counter()
            response = await searcher.search(request)
            elapsed = (perf_counter() - began) * 1000
            runs[name][query_id] = _documents(response)
            if number:  # the first loads and warms up
                times[name].append((_rerank_ms(response), elapsed))
    models.close()
    await collection.close()
    catalog.close()
    return [_row(name, judged, runs[name], times[name]) for name in ways]


def _searcher(
    settings: Settings,
    collection: Collection,
    catalog: Catalog,
    models: ModelThread,
    stored: StoredTokens | None,
) -> Searcher:
    return Searcher(
        collection,
        catalog,
        models.embed_query,
        retrieval=settings.retrieval,
        reranking=settings.rerank,
        coverage=models.encoders.coverage,
        min_coverage=settings.encoders.min_coverage,
        rerank=models.rerank,
        stored_tokens=stored,
    )


def _documents(response: SearchResponse) -> dict[str, float]:
    """Documents by their best result's place: logits and fused scores share no scale."""
    places: dict[str, float] = {}
    for place, one in enumerate(response.results):
        if one.doc_id not in places:
            places[one.doc_id] = float(-place)
    return places


def _rerank_ms(response: SearchResponse) -> float:
    stage = next(one for one in response.receipt.stages if one.name == "rerank")
    if response.receipt.degraded:
        raise WinnowError(f"a query was not reranked: {response.receipt.degraded[0]}")
    return stage.ms


def _row(
    name: str, judged: JudgedSet, run: dict[str, dict[str, float]], times: list[tuple[float, float]]
) -> Row:
    report = evaluate(run, judged.qrels, [MEASURE])
    per_query = dict(report.per_query[MEASURE])
    return Row(
        name,
        report.means[MEASURE],
        bootstrap_interval(list(per_query.values()), SEED),
        median(one for one, _ in times),
        median(one for _, one in times),
        per_query,
    )


def table(result: dict[str, Any]) -> str:
    """Return both tables in Markdown."""
    data, index = result["dataset"], result["index"]
    lines = [
        f"{data['name']} ({data['checksum']}): {data['documents']} documents, {data['queries']} queries, "
        f"{index['sentences']} sentences; encoding, sentences a second: "
        f"{index['pair_sentences_per_second']} for dense and sparse vectors, "
        f"{index['tokens_sentences_per_second']} for tokens",
        "",
        "| token vectors | bytes a sentence on disk | of these, token vectors |",
        "|---|---|---|",
    ]
    for row in result["storage"]:
        lines.append(f"| {row['tokens']} | {row['bytes_per_sentence']} | {row['token_bytes_per_sentence']} |")
    lines += [
        f"({result['storage'][0]['tokens_per_sentence']} tokens a sentence)",
        "",
        f"| window size {result['window_size']} | {MEASURE} | rerank p50 ms | query p50 ms |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        low, high = row["interval"]
        lines.append(
            f"| {row['name']} | {row['ndcg']:.3f} ({low:.3f}-{high:.3f}) | {row['rerank_p50_ms']:.1f} | "
            f"{row['query_p50_ms']:.1f} |"
        )
    lines += ["", *(f"{name}: {line}" for name, line in result["against"].items())]
    return "\n".join(lines)


def against(rows: Sequence[Row]) -> dict[str, str]:
    """Return the stored tokens against the other ways, paired."""
    by_name = {row.name: row for row in rows}
    ours = by_name.pop("stored tokens")
    found = {}
    for name, row in by_name.items():
        left, right = ([one.per_query[key] for key in ours.per_query] for one in (ours, row))
        p = randomisation_test(left, right, SEED)
        found[f"stored tokens against {name}"] = f"{ours.ndcg - row.ndcg:+.4f} {MEASURE}, p {p:.4f}"
    return found


def measure(judged: JudgedSet, folder: Path, window_size: int) -> dict[str, Any]:
    """Return everything that the result file holds."""
    settings = load_settings(
        home=folder / "home",
        encoders={"late_interaction": "auto"},
        rerank={"model": "auto", "timeout_s": 60.0},
        collection={"idle_exit_s": 1.0},
    )
    index = build(judged, settings)
    typer.echo(f"{judged.name}: indexed", err=True)
    rows = asyncio.run(ask(judged, settings, window_size))
    typer.echo(f"{judged.name}: asked", err=True)
    return {
        **provenance(),
        "dataset": {
            "name": judged.name,
            "checksum": judged.checksum,
            "documents": judged.documents,
            "queries": len(judged.qrels),
        },
        "window_size": window_size,
        "candidates": settings.rerank.candidates,
        "index": index,
        "storage": asyncio.run(storage(settings)),
        "rows": [asdict(row) for row in rows],
        "against": against(rows),
    }


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="A folder in the BEIR layout.")] = Path(
        "benchmarks/data/bundled"
    ),
    max_documents: Annotated[
        int | None, typer.Option(min=1, help="The judged ones and so many others that it is this many.")
    ] = None,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Draw this many queries.")] = None,
    window_size: Annotated[int, typer.Option(min=0, help="Sentences on each side of a hit.")] = 2,
    out: Annotated[Path | None, typer.Option(help="File for the figures as JSON.")] = None,
) -> None:
    """Measure late interaction from stored token vectors against the forward pass."""
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="winnow-tokens-", ignore_cleanup_errors=True) as folder:
            judged = sample(load_beir(data), max_queries, SEED)
            result = measure(smaller(judged, max_documents, Path(folder)), Path(folder), window_size)
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    typer.echo(table(result))
    if out is not None:
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
