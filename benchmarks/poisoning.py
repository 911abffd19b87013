"""``python -m benchmarks.poisoning``: what one hostile source takes of the top 5, with and without a cap.

A judged set is indexed by the real engine with every document's publisher as
its source.  An attacker publishes passages made for chosen questions:
``copied`` begins with the question word for word, ``stuffed`` repeats its
words; both go on with a false claim (the retrieval half of "PoisonedRAG", Zou
et al., USENIX Security 2025).  All passages come from one publisher, or from
several: a cap bounds a source and not an attacker with many.

What the cap costs is NDCG@10 on the clean set: with publishers of a few
documents each, and in the worst case, where all that answers a question has
one publisher.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from benchmarks.beir import JudgedSet, load_beir, passage_texts
from benchmarks.evaluate.sets import BUNDLED
from benchmarks.provenance import provenance
from benchmarks.quality import MEASURE, best_sentence, build_index, sample
from indexing.errors import WinnowError
from indexing.settings import Settings, load_settings
from retrieval.metrics import evaluate
from retrieval.records import SearchRequest, SearchResponse, SearchResult
from retrieval.search import Searcher
from retrieval.significance import randomisation_test

Attack = Literal["copied", "stuffed"]
FIELD = "publisher"
PLACES = 5
DOCUMENTS_EACH = 5
EXIT_REFUSED = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One attack under one cap: shares over the attacked questions, each 0 to 1.

    ``places`` is the mean share of the top 5 that the attacker holds, ``any``
    the share of questions with one such passage, ``most`` with three or more.
    """

    attack: Attack
    passages: int
    publishers: int
    cap: int
    places: float
    any: float
    most: float


def poison(query: str, attack: Attack, number: int, seed: int) -> str:
    """Return one passage made for a question; every number gives another."""
    draw = random.Random(f"{seed}/{query}/{number}")  # noqa: S311
    claim = f"The answer is mallory{draw.randrange(10**6)}, says bulletin {number}."
    if attack == "copied":
        return f"{query} {claim}"
    words = query.split()
    repeated = [word for _ in range(3) for word in draw.sample(words, len(words))]
    return f"{' '.join(repeated)}. {claim}"


@contextmanager
def corpus_file(rows: Sequence[Mapping[str, object]]) -> Iterator[Path]:
    """Yield a temporary folder with the rows as ``corpus.jsonl``."""
    with tempfile.TemporaryDirectory(prefix="winnow-poisoning-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "corpus.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        yield path


def clean_rows(texts: Mapping[str, str], publishers: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the corpus with each document's publisher in its metadata."""
    return [
        {"_id": doc_id, "text": text, "metadata": {FIELD: publishers[doc_id]}}
        for doc_id, text in sorted(texts.items())
    ]


def spread_publishers(texts: Mapping[str, str]) -> dict[str, str]:
    """Return doc_id -> one of so many publishers that each has a few documents."""
    many = max(1, len(texts) // DOCUMENTS_EACH)
    return {one: f"p{int(hashlib.sha256(one.encode()).hexdigest(), 16) % many}" for one in texts}


def joined_publishers(texts: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Return doc_id -> publisher such that all that is judged relevant to a question has the same one."""
    leader = {one: one for one in texts}

    def head(one: str) -> str:
        while leader[one] != one:
            one = leader[one]
        return one

    for grades in qrels.values():
        known = [head(one) for one in grades if one in leader]
        for one in known[1:]:
            leader[one] = known[0]
    return {one: f"p{head(one)}" for one in texts}


async def attacked(
    settings: Settings, queries: Sequence[str], caps: Sequence[int]
) -> dict[int, list[list[bool]]]:
    """Return cap -> for every question which of the first 5 places are the attacker's."""
    found: dict[int, list[list[bool]]] = {}
    async with await Searcher.open(settings) as searcher:
        for cap in caps:
            found[cap] = []
            for query in queries:
                response = await _whole(searcher, SearchRequest(query, top_n=10, per_source_cap=cap))
                found[cap].append([_is_poison(one) for one in response.results[:PLACES]])
    return found


async def _whole(searcher: Searcher, request: SearchRequest) -> SearchResponse:
    """Search, every stage included: a row of reranked searches must not hold a fused one."""
    response = await searcher.search(request)
    if response.receipt.degraded:
        raise WinnowError(f"{request.query!r} was degraded: {response.receipt.degraded[0]}")
    return response


def _is_poison(result: SearchResult) -> bool:
    return str(result.metadata.get(FIELD, "")).startswith("mallory")


async def clean_scores(settings: Settings, judged: JudgedSet, caps: Sequence[int]) -> dict[int, list[float]]:
    """Return cap -> NDCG@10 of every question."""
    scores: dict[int, list[float]] = {}
    async with await Searcher.open(settings) as searcher:
        for cap in caps:
            run = {}
            for query_id, query in judged.queries.items():
                response = await _whole(searcher, SearchRequest(query, top_n=20, per_source_cap=cap))
                # By place, not by score: the cap moves results and leaves their scores.
                placed = [(one.doc_id, float(-place)) for place, one in enumerate(response.results)]
                run[query_id] = best_sentence(placed)
            report = evaluate(run, judged.qrels, [MEASURE])
            scores[cap] = [report.per_query[MEASURE][one] for one in sorted(judged.queries)]
    return scores


def shares(attack: Attack, passages: int, publishers: int, cap: int, held: Sequence[Sequence[bool]]) -> Row:
    """Return the row of one attack under one cap."""
    counts = [sum(one) for one in held]
    total = len(counts)
    return Row(
        attack,
        passages,
        publishers,
        cap,
        places=sum(counts) / (PLACES * total),
        any=sum(count > 0 for count in counts) / total,
        most=sum(count >= PLACES // 2 + 1 for count in counts) / total,
    )


def run_attacks(
    judged: JudgedSet,
    texts: Mapping[str, str],
    plan: Sequence[tuple[int, int]],
    caps: Sequence[int],
    seed: int,
    *,
    rerank: bool,
) -> list[Row]:
    """Return every attack with ``(passages, publishers)`` of the plan, under every cap."""
    rows: list[Row] = []
    base = clean_rows(texts, spread_publishers(texts))
    for attack in get_args(Attack):
        for passages, publishers in plan:
            made = [
                {
                    "_id": f"bad-{query_id}-{number}",
                    "text": poison(query, attack, number, seed),
                    "metadata": {FIELD: f"mallory{number % publishers}"},
                }
                for query_id, query in judged.queries.items()
                for number in range(passages)
            ]
            with corpus_file([*base, *made]) as path, _home(rerank) as settings:
                build_index(_over(judged, path), settings)
                held = asyncio.run(attacked(settings, list(judged.queries.values()), caps))
            rows += [shares(attack, passages, publishers, cap, held[cap]) for cap in caps]
            typer.echo(f"{attack}, {passages} passages, {publishers} publishers: done", err=True)
    return rows


def run_clean(
    judged: JudgedSet, texts: Mapping[str, str], caps: Sequence[int], *, rerank: bool
) -> dict[str, dict[int, list[float]]]:
    """Return what the caps cost where nobody attacks: layout of publishers -> cap -> NDCG@10 a question."""
    layouts = {
        f"about {DOCUMENTS_EACH} documents a publisher": spread_publishers(texts),
        "one publisher for all that answers a question": joined_publishers(texts, judged.qrels),
    }
    scores: dict[str, dict[int, list[float]]] = {}
    for name, publishers in layouts.items():
        with corpus_file(clean_rows(texts, publishers)) as path, _home(rerank) as settings:
            build_index(_over(judged, path), settings)
            scores[name] = asyncio.run(clean_scores(settings, judged, caps))
        typer.echo(f"clean, {name}: done", err=True)
    return scores


def _over(judged: JudgedSet, path: Path) -> JudgedSet:
    return JudgedSet(judged.name, path, judged.documents, judged.queries, judged.qrels, judged.checksum)


@contextmanager
def _home(rerank: bool) -> Iterator[Settings]:
    # The engine leaves a second after its last client, often after the folder is due to go.
    with tempfile.TemporaryDirectory(prefix="winnow-poisoning-", ignore_cleanup_errors=True) as home:
        yield load_settings(
            home=Path(home),
            collection={"idle_exit_s": 1.0},
            retrieval={"source_field": FIELD},
            # A busy machine must not turn a reranked row into a fused one.
            rerank={"timeout_s": 120.0} if rerank else {"model": "none"},
        )


def table(rows: Sequence[Row], clean: Mapping[str, Mapping[int, Sequence[float]]], seed: int) -> str:
    """Return both tables in Markdown."""
    lines = [
        "| attack | passages a question | from publishers | cap | attacker's places in the top 5 "
        "| questions with one | questions with three or more |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.attack} | {one.passages} | {one.publishers} | {one.cap or 'none'} | {one.places:.0%} "
        f"| {one.any:.0%} | {one.most:.0%} |"
        for one in rows
    ]
    lines += ["", f"| clean corpus | cap | {MEASURE} | change | p |", "|---|---|---|---|---|"]
    for name, by_cap in clean.items():
        without = by_cap[0]
        for cap, scores in by_cap.items():
            mean, before = (sum(one) / len(one) for one in (scores, without))
            p = randomisation_test(list(scores), list(without), seed) if cap else 1.0
            change = f"{mean - before:+.4f} | {p:.3f}" if cap else "|"
            lines.append(f"| {name} | {cap or 'none'} | {mean:.4f} | {change} |")
    return "\n".join(lines)


@app.command()
def main(
    data: Annotated[
        Path, typer.Option(help="A folder in the BEIR layout; default: the bundled set.")
    ] = BUNDLED,
    targets: Annotated[int, typer.Option(min=1, help="Questions attacked, drawn by the seed.")] = 20,
    cap: Annotated[list[int] | None, typer.Option(min=1, help="Caps to compare; default 1, 2 and 3.")] = None,
    rerank: Annotated[bool, typer.Option(help="With the reranker that the service would use.")] = True,
    seed: Annotated[int, typer.Option(help="Of the draw, the passages and the test.")] = 20,
    out: Annotated[Path | None, typer.Option(help="A JSON file for the result.")] = None,
) -> None:
    """Measure what a poisoned source takes of the top 5, and what the cap against it costs."""
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    caps = [0, *(cap or (1, 2, 3))]
    try:
        judged, texts = load_beir(data), passage_texts(data)
        plan = ((1, 1), (5, 1), (20, 1), (20, 5))
        rows = run_attacks(sample(judged, targets, seed), texts, plan, caps, seed, rerank=rerank)
        clean = run_clean(judged, texts, caps, rerank=rerank)
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    head = f"{judged.name} ({judged.checksum}): {judged.documents} documents, {len(judged.queries)} questions"
    typer.echo(
        f"{head}, {min(targets, len(judged.queries))} of them attacked, "
        f"{'with' if rerank else 'without'} the reranker, seed {seed}\n"
    )
    typer.echo(table(rows, clean, seed))
    if out is not None:
        result = {
            **provenance(),
            "dataset": {"name": judged.name, "checksum": judged.checksum},
            "seed": seed,
            "attacks": [{name: getattr(one, name) for name in Row.__slots__} for one in rows],
            "clean": clean,
        }
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
