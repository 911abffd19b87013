"""What the command line shows: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from indexing.catalog import DocumentRecord
    from indexing.ingest import IngestReport
    from indexing.records import Sentence

_MAX_FAILURES = 50


def write(text: str = "") -> None:
    """One line on stdout; characters the terminal cannot show are replaced."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def write_json(value: object) -> None:
    write(json.dumps(value, ensure_ascii=False, indent=2))


def complain(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class TerminalProgress:
    """A bar with rate and time left, drawn on stderr when that is a terminal."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description:>10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TaskProgressColumn(text_format="", show_speed=True),
                TextColumn("{task.fields[unit]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, name: str, total: int, unit: str) -> None:
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total, unit=unit)

    def advance(self, steps: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, steps)

    def committed(self) -> None:
        pass

    def message(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            complain(text)


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
    """Rows as a table on a terminal, tab-separated into a pipe."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            write("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*header, box=None, show_header=bool(header), pad_edge=False)
    for row in cells:
        shown.add_row(*(Text(cell) for cell in row))
    Console().print(shown)


def report_json(report: IngestReport) -> dict[str, Any]:
    body = asdict(report)
    kinds = body.pop("kinds")
    body["failures"] = [
        {"source": source, "reason": reason, "kind": kinds.get(source)} for source, reason in report.failures
    ]
    body["sentences_per_second"] = round(report.rate, 1)
    return body


def summary(report: IngestReport) -> None:
    """The table that ends a run, then the failures with their reasons."""
    skipped = ", ".join(f"{kind} {count}" for kind, count in sorted(report.skipped.items()))
    rows: list[tuple[str, object]] = [
        ("files", report.files),
        ("unchanged", report.unchanged),
        ("read", report.read),
        ("failed", len(report.failures)),
        ("skipped", f"{sum(report.skipped.values())} ({skipped})" if skipped else 0),
        ("removed", report.removed_sources),
        ("documents", f"{report.documents} new, {report.retired} retired"),
        ("sentences", _sentences(report)),
        ("seconds", f"{report.seconds:.1f}"),
        ("rate", f"{report.rate:.0f} sentences/s"),
    ]
    table(rows)
    for source, reason in report.failures[:_MAX_FAILURES]:
        write(f"failed: {source}: {reason}")
    if len(report.failures) > _MAX_FAILURES:
        write(f"failed: and {len(report.failures) - _MAX_FAILURES} more (--json lists all)")


def _sentences(report: IngestReport) -> str:
    parts = [str(report.sentences)]
    if report.reused:
        parts.append(f"{report.reused} with the vector of an older version")
    if report.reweighed:
        parts.append(f"{report.reweighed} re-weighed")
    return ", ".join(parts)


def document_json(record: DocumentRecord) -> dict[str, Any]:
    body = asdict(record)
    body["sources"] = list(record.sources)
    body["metadata"] = dict(record.metadata)
    return body


def show_document(record: DocumentRecord, sentences: Sequence[Sentence]) -> None:
    """The document's fields, its tree of sections, its sentences with offsets."""
    body = document_json(record)
    body["sources"] = ", ".join(record.sources)
    body["metadata"] = json.dumps(body["metadata"], ensure_ascii=False)
    for name, value in body.items():
        write(f"{name:<11}{value}")
    tree = section_counts(sentences)
    if tree:
        write("\nsections (sentences)")
        for section, count in tree.items():
            depth = section.count(" > ")
            write(f"{'  ' * (depth + 1)}{section.rsplit(' > ', 1)[-1]} ({count})")
    write("\nsentences [ordinal] start-end")
    for sentence in sentences:
        page = f" p.{sentence.page}" if sentence.page is not None else ""
        write(f"  [{sentence.ordinal}] {sentence.start}-{sentence.end}{page} {sentence.text!r}")


def section_counts(sentences: Sequence[Sentence]) -> Mapping[str, int]:
    """Sentences per section path, in reading order."""
    counts: dict[str, int] = {}
    for sentence in sentences:
        if sentence.section:
            counts[sentence.section] = counts.get(sentence.section, 0) + 1
    return counts
