"""``python -m benchmarks.workers``: how fast the same corpus is indexed by 1, 2, 4 workers.

The corpus is the language reference inside Python. Every row is a new index in
a temporary folder (or, with ``WINNOW_COLLECTION__HOME=server``, a new collection
on that server, dropped afterwards); ``seconds`` is the whole run, loading models
in every worker included. Each row's index is compared with the first one's.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer

from benchmarks.provenance import provenance
from indexing.collection import StoredPoint, drop_collection
from indexing.command_line import exit_code_of
from indexing.errors import MismatchError
from indexing.ingest import TextItem, add_texts
from indexing.session import Index
from indexing.settings import Settings, load_settings
from indexing.topics import python_topics

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One run; ``largest_difference`` is between numbers of a dense vector and the first row's."""

    workers: int
    threads_each: int
    sentences: int
    seconds: float
    rate: float
    largest_difference: float


def settings_for(home: Path, workers: int, ray: str | None, batch: int) -> Settings:
    """The configured settings with an index of its own, and so many workers."""
    settings = load_settings(home=home, indexing={"workers": workers, "ray": ray, "batch_sentences": batch})
    name = f"{settings.collection.name}.workers{workers}"
    return settings.model_copy(
        update={"collection": settings.collection.model_copy(update={"name": name, "optimize_after": 0})}
    )


def measure(
    items: list[TextItem], workers: int, ray: str | None, batch: int, first: dict[str, StoredPoint]
) -> Row:
    """Index the corpus; ``first`` is filled by the first run and compared with by the others.

    Raises:
        MismatchError: another set of points, payloads or sparse vectors than the first run's.
    """
    with tempfile.TemporaryDirectory(prefix="winnow-workers-") as folder:
        settings = settings_for(Path(folder) / "home", workers, ray, batch)
        with Index.open(settings) as index:
            index.check()
            started = perf_counter()
            report = add_texts(index, items)
            seconds = perf_counter() - started
            points = {
                row.id: row
                for rows in index.bridge.iterate(index.collection.scroll, tenant=None, with_vectors=True)
                for row in rows
            }
            index.bridge(drop_collection, settings)
    if not first:
        first.update(points)
    from indexing.ingest.workers import share_of_threads

    return Row(
        workers,
        share_of_threads(settings.encoders, workers).threads,
        report.sentences,
        seconds,
        report.sentences / seconds,
        difference(first, points),
    )


def difference(left: dict[str, StoredPoint], right: dict[str, StoredPoint]) -> float:
    """The largest difference between two indexes' dense vectors.

    Raises:
        MismatchError: they differ in anything else.
    """
    if left.keys() != right.keys():
        raise MismatchError("two runs made different points")
    largest = 0.0
    for key, row in left.items():
        one, other = row.embedding, right[key].embedding
        if one is None or other is None or (one.dense is None) != (other.dense is None):
            raise MismatchError(f"point {key} lacks a vector in one of two runs")
        if one.sparse != other.sparse or dict(row.payload) != dict(right[key].payload):
            raise MismatchError(f"two runs made point {key} differently")
        if one.dense is not None and other.dense is not None:
            largest = max(largest, float(np.abs(one.dense - other.dense).max()))
    return largest


@app.command()
def run(
    workers: Annotated[list[int] | None, typer.Option(min=1, help="Rows; may be repeated (1, 2, 4).")] = None,
    ray: Annotated[
        str | None, typer.Option(help="Ray's address for the rows; 'local': this machine.")
    ] = None,
    documents: Annotated[int, typer.Option(min=1, help="How many of the topics.")] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Sentences handed to a worker at a time.")] = 128,
    output: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Index the same corpus by each number of workers and print a table."""
    items = python_topics()[:documents]
    first: dict[str, StoredPoint] = {}
    rows: list[Row] = []
    for count in workers or [1, 2, 4]:
        rows.append(measure(items, count, ray, batch, first))
        sys.stderr.write(f"{count} workers: {rows[-1].seconds:.1f} s\n")
    told = provenance()
    sys.stdout.write(f"{told['processor']}, {told['cores']} cores; {rows[0].sentences} sentences\n")
    sys.stdout.write(
        "| workers | threads each | seconds | sentences/s | against the first | vectors differ by |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for row in rows:
        sys.stdout.write(
            f"| {row.workers} | {row.threads_each} | {row.seconds:.1f} | {row.rate:.0f} "
            f"| {row.rate / rows[0].rate:.2f} | {row.largest_difference:.1e} |\n"
        )
    if output is not None:
        body = {"provenance": told, "rows": [asdict(row) for row in rows]}
        output.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: app(standalone_mode=False)))
