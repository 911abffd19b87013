"""``python -m benchmarks.speed``: every side in one run, one table, one result file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.corpus import checksum
from benchmarks.provenance import provenance
from benchmarks.speed import SIDES
from benchmarks.speed.turns import child_command, run_sides
from benchmarks.speed.vectors import make_corpus

COLUMNS = (
    ("sentences_per_s", "index sentences/s", "{:,.0f}"),
    ("disk_bytes_per_raw_byte", "disk B / raw B", "{:.1f}"),
    ("payload_bytes_per_raw_byte", "payload B / raw B", "{:.2f}"),
    ("ready_s", "start to first answer s", "{:.2f}"),
    ("memory_mb", "memory MiB", "{:,.0f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p95_ms", "p95 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("recall_vs_own_exact", "Recall@10 of own exact", "{:.3f}"),
    ("queries", "queries", "{:d}"),
)


def encoder_ms(corpus: Path, scratch: Path) -> float:
    """The shipped encoder's median time for one of the queries, in a process of its own."""
    out = scratch / "encoder.json"
    command = child_command("encode", "encoder", corpus, scratch, out)
    subprocess.run(command, timeout=300, check=True, capture_output=True)
    return float(json.loads(out.read_text(encoding="utf-8"))["encoder_p50_ms"])


def overhead(results: list[dict[str, object]], encoder: float) -> float | None:
    """Winnow's median over the raw engine's, both with the encoder, less one; None where one is missing."""
    medians = {str(one["side"]): one.get("p50_ms") for one in results}
    ours, raw = medians.get("winnow"), medians.get("raw-engine")
    if not isinstance(ours, float) or not isinstance(raw, float):
        return None
    return (ours + encoder) / (raw + encoder) - 1


def table(results: list[dict[str, object]], sentences: int) -> Table:
    """Return the comparison as a table, a row a side."""
    shown = Table(title=f"{sentences:,} sentences")
    shown.add_column("side")
    for _, heading, _ in COLUMNS:
        shown.add_column(heading, justify="right")
    for result in results:
        if "failed" in result:
            shown.add_row(str(result["side"]), f"failed: {result['failed']}")
            continue
        cells = ["-" if result.get(key) is None else form.format(result[key]) for key, _, form in COLUMNS]
        shown.add_row(str(result["side"]), *cells)
    return shown


def main(
    sentences: Annotated[list[int], typer.Option(help="corpus sizes, one table each")] = [100_000],  # noqa: B006
    queries: Annotated[int, typer.Option(help="held-out queries")] = 500,
    sides: Annotated[str, typer.Option(help="comma-separated")] = ",".join(SIDES),
    cache: Annotated[Path, typer.Option(help="encoded sentences are kept here")] = Path(".winnow/bench"),
    output: Annotated[Path | None, typer.Option(help="result file (JSON)")] = None,
    query_limit_s: Annotated[float, typer.Option(help="a slow side answers as many as fit")] = 60.0,
    build_limit_s: Annotated[float, typer.Option()] = 3600.0,
) -> None:
    """Compare Winnow's embedded default with its peers on the same vectors, without the encoder."""
    console = Console(width=180)
    runs = []
    for size in sentences:
        corpus = make_corpus(size, queries, cache)
        with tempfile.TemporaryDirectory(prefix="winnow-bench-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) / "corpus"
            corpus.save(folder)
            results = run_sides(
                sides.split(","),
                folder,
                Path(scratch),
                len(corpus.queries),
                (build_limit_s, query_limit_s),
                partial(console.log, style="dim"),
            )
            encoder = encoder_ms(folder, Path(scratch))
        console.print(table(results, len(corpus.sentences)))
        above = overhead(results, encoder)
        told = f"the shipped encoder takes {encoder:.2f} ms a query"
        if above is not None:
            told += f"; with it Winnow's median is {above:+.0%} on the raw engine's"
        console.print(told)
        runs.append(
            {
                "sentences": len(corpus.sentences),
                "documents": len(corpus.texts),
                "raw_bytes": corpus.raw_bytes,
                "checksum": checksum(corpus.sentences),
                "encoder_p50_ms": encoder,
                "overhead": above,
                "results": results,
            }
        )
    if output is not None:
        record = {**provenance(), "cpu": platform.processor(), "cores": os.cpu_count(), "runs": runs}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
