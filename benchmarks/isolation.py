"""What it costs to parse in confined processes: a folder of small files with and without them.

::

    python -m benchmarks.isolation [--files 400] [--rounds 3] [--ingest]

Every round reads the same folder in this process (``read_workers = 0``, no
protection), in one parser process and in two, in an order that changes; the
table has the median.  ``--ingest`` adds whole ingest runs, encoding included.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile_files import honest
from indexing.ingest.pool import ReaderPool, ReadJob
from indexing.settings import IndexingSettings, load_settings

SEED = 7
_WORKERS = (0, 1, 2)
_SUFFIXES = ("txt", "md", "html", "json", "csv", "eml", "py", "docx")


@dataclass(frozen=True, slots=True)
class Row:
    """Of each round, by parser processes: seconds, and processor seconds of all processes."""

    what: str
    seconds: dict[int, list[float]]
    processor: dict[int, list[float]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ingest", action="store_true", help="whole ingest runs too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_files(folder / "docs", given.files)
        read(paths[:20], 0)  # libraries are loaded and compiled once
        rows = [measured("read and split", given.rounds, lambda workers: read(paths, workers))]
        if given.ingest:
            rows.append(measured("whole ingest", given.rounds, lambda workers: ingest(folder, workers)))
    sys.stdout.write(report(rows, given.files))
    return 0


def write_files(folder: Path, count: int) -> list[Path]:
    """Write small files of eight formats, no two with the same text, and return their paths."""
    folder.mkdir(parents=True)
    samples = honest.honest()
    paths = []
    for number in range(count):
        suffix = _SUFFIXES[number % len(_SUFFIXES)]
        data = samples[suffix]
        if suffix == "docx":
            parts = honest.members(data)
            main_part = "word/document.xml"
            parts[main_part] = parts[main_part].replace(b"Danube", b"Danube %d" % number)
            data = honest.pack(parts)
        else:
            data = data.replace(b"Danube", b"Danube %d" % number)
        path = folder / f"{number:05d}.{suffix}"
        path.write_bytes(data)
        paths.append(path)
    return paths


def read(paths: Sequence[Path], workers: int) -> None:
    """Read and split every file, as an ingest run does before it encodes."""
    settings = IndexingSettings(read_workers=workers)
    jobs = [ReadJob(str(path), path, "0" * 64, path.stat().st_size, path.name) for path in paths]
    with ReaderPool(settings, ("indexing.readers", "read_file")) as pool:
        for _, documents in pool.read(jobs):
            if not sum(document.sentences for document in documents):
                raise ValueError("an honest file was read as empty")


def ingest(folder: Path, workers: int) -> None:
    from indexing.ingest import add_paths
    from indexing.session import Index

    with tempfile.TemporaryDirectory(dir=folder) as home:
        settings = load_settings(home=Path(home), indexing={"read_workers": workers})
        with Index.open(settings) as index:
            report = add_paths(index, [folder / "docs"])
            if report.failures:
                raise ValueError(f"an honest file failed: {report.failures[0]}")


def measured(what: str, rounds: int, run: Callable[[int], None]) -> Row:
    seconds: dict[int, list[float]] = {workers: [] for workers in _WORKERS}
    processor: dict[int, list[float]] = {workers: [] for workers in _WORKERS}
    order = random.Random(SEED)  # noqa: S311 - no secret
    for _ in range(rounds):
        for workers in order.sample(_WORKERS, len(_WORKERS)):
            began, used = time.perf_counter(), _processor_s()
            run(workers)
            seconds[workers].append(time.perf_counter() - began)
            processor[workers].append(_processor_s() - used)
    return Row(what, seconds, processor)


def _processor_s() -> float:
    """Of this process and of those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def report(rows: Sequence[Row], files: int) -> str:
    lines = [f"| {files} small files | without | one process | two processes |", "|---|---|---|---|"]
    for row in rows:
        cells = []
        for workers in _WORKERS:
            wall = statistics.median(row.seconds[workers])
            cells.append(f"{wall:.2f} s, {statistics.median(row.processor[workers]):.2f} s of processor time")
        lines.append(f"| {row.what} | {' | '.join(cells)} |")
    alone = statistics.median(rows[0].processor[0])
    one = statistics.median(rows[0].processor[1])
    lines.append("")
    lines.append(
        f"One process costs {(one - alone) / files * 1000:.2f} ms of processor time a file here, "
        "its start included."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
