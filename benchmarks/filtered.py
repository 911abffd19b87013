"""What a filter costs a dense search in recall and time, as Winnow asks and by the graph alone.

::

    python -m benchmarks.filtered [--sentences 100000] [--queries 150]

Real sentences in one embedded collection; documents are dealt to a hundred
pages at random, and a filter by a range of pages keeps a share of them.
Numbers have no links of their own in the graph, so nothing else helps.  The
same number stands in the metadata, which has no index: there a filter reads
payloads, and every tenth query is asked.  Both sides and the exact search
answer each query in turn.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.provenance import provenance
from benchmarks.speed.sides import Corpus
from benchmarks.speed.vectors import make_corpus
from indexing.collection import Collection, CollectionSpec, open_collection
from indexing.collection.filters import Condition, Filter
from indexing.identity import point_id
from indexing.records import DEFAULT_TENANT, Embedding, Point, SparseVector
from indexing.settings import load_settings

SEED = 11
SHARES = {"page": (5, 10, 20, 30, 50, 70, 90), "metadata.page": (1, 10, 50)}
_EVERY = {"page": 1, "metadata.page": 10}
RESULTS = 10
POOL = 50
_BATCH = 1000
_NO_TERMS = SparseVector((), ())


@dataclass
class Measured:
    """One side's answers: Recall@10 of exact search, and milliseconds, a value a query."""

    recalls: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    @property
    def cells(self) -> tuple[str, str, str]:
        none = sum(recall == 0 for recall in self.recalls)
        return f"{np.mean(self.recalls):.3f}", str(none), f"{np.median(self.ms):.2f}"


def points_of(corpus: Corpus) -> Iterator[list[Point]]:
    """The corpus in batches, a page for each document."""
    pages = np.random.default_rng(SEED).integers(100, size=len(corpus.texts)).tolist()
    for first in range(0, len(corpus.sentences), _BATCH):
        batch = []
        for number in range(first, min(first + _BATCH, len(corpus.sentences))):
            document, ordinal = corpus.documents[number], int(corpus.ordinals[number])
            doc_id = f"d{document:07d}"
            batch.append(
                Point(
                    point_id(DEFAULT_TENANT, doc_id, "1", ordinal),
                    Embedding(corpus.vectors[number], _NO_TERMS),
                    {
                        "tenant": DEFAULT_TENANT,
                        "doc_id": doc_id,
                        "ordinal": ordinal,
                        "page": pages[document],
                        "metadata": {"page": pages[document]},
                    },
                )
            )
        yield batch


async def measure(corpus: Corpus, home: Path) -> list[tuple[str, int, list[Measured]]]:
    """Filter, matches, and what Winnow, the graph alone and the exact search gave."""
    settings = load_settings(home=home, collection={"idle_exit_s": 0.2})
    unhelped = load_settings(home=home, collection={"idle_exit_s": 0.2, "acorn_selectivity": 0.0})
    spec = CollectionSpec(corpus.vectors.shape[1], "filtered", "", sparse_idf=True)
    ours: Collection = await open_collection(settings, spec)
    alone: Collection = await open_collection(unhelped, spec)
    try:
        for batch in points_of(corpus):
            await ours.upsert(batch)
        await ours.optimize(wait=True)
        rows = []
        for key, share in ((key, share) for key, shares in SHARES.items() for share in shares):
            wanted = Filter((Condition(key, bounds=(("lt", float(share)),)),))
            sides = [Measured(), Measured(), Measured()]
            for vector in corpus.query_vectors[:: _EVERY[key]]:
                query = Embedding(vector, _NO_TERMS)
                exact = await _ask(ours, query, wanted, sides[2], None)
                for side, collection in zip(sides[:2], (ours, alone), strict=True):
                    await _ask(collection, query, wanted, side, exact)
            matches = await alone.count(tenant=DEFAULT_TENANT, filter=wanted)
            rows.append((f"{key} < {share}", matches, sides))
        return rows
    finally:
        await ours.close()
        await alone.close()


async def _ask(
    collection: Collection, query: Embedding, wanted: Filter, side: Measured, exact: set[str] | None
) -> set[str]:
    """The ten nearest; ``exact`` None: this is the exact search."""
    before = time.perf_counter()
    hits = await collection.search(
        query,
        tenant=DEFAULT_TENANT,
        top_k=POOL,
        mode="dense",
        filter=wanted,
        exact=exact is None,
        with_payload=False,
    )
    side.ms.append(1000 * (time.perf_counter() - before))
    found = {hit.id for hit in hits.dense[:RESULTS]}
    truth = found if exact is None else exact
    side.recalls.append(len(found & truth) / len(truth))
    return found


def main(
    sentences: Annotated[int, typer.Option(help="corpus size")] = 100_000,
    queries: Annotated[int, typer.Option(help="held-out queries")] = 150,
    cache: Annotated[Path, typer.Option(help="encoded sentences are kept here")] = Path(".winnow/bench"),
) -> None:
    """Print recall and time of filtered dense search."""
    corpus = make_corpus(sentences, queries, cache)
    with tempfile.TemporaryDirectory(prefix="winnow-filtered-", ignore_cleanup_errors=True) as scratch:
        rows = asyncio.run(measure(corpus, Path(scratch)))
    shown = Table(title=f"{len(corpus.sentences):,} sentences, {len(corpus.queries)} queries, seed {SEED}")
    shown.add_column("filter")
    shown.add_column("matches", justify="right")
    for side in ("Winnow", "graph alone"):
        for heading in ("Recall@10", "found none", "p50 ms"):
            shown.add_column(f"{side}, {heading}", justify="right")
    shown.add_column("exact, p50 ms", justify="right")
    for asked, matches, (winnow, alone, exact) in rows:
        shown.add_row(asked, f"{matches:,}", *winnow.cells, *alone.cells, exact.cells[2])
    console = Console(width=160)
    console.print(shown)
    console.print(f"commit {provenance()['commit']}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
