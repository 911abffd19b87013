"""The command line of the index: ``python -m indexing PATH...``.

Everything heavy is imported inside the commands, so that ``--help`` answers at
once.  Exit code 0: done; 1: something failed, a file or the run; 2: wrong
arguments or settings.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexing.command_line import exit_code_of
from indexing.dashboard.cli import dashboard
from indexing.errors import InputError
from indexing.migration.cli import app as migrate
from indexing.transfer.cli import push, snapshot

if TYPE_CHECKING:
    from indexing.ingest import IngestReport
    from indexing.session import Index
    from indexing.settings import Settings

app = typer.Typer(
    name="python -m indexing",
    help="Index files and look at what is indexed. `python -m indexing PATH...` is short for `add`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(migrate, name="migrate")
app.add_typer(snapshot, name="snapshot")
app.command()(push)
app.command()(dashboard)

Home = Annotated[Path | None, typer.Option(help="Index folder (default: WINNOW_HOME, else .winnow).")]
Tenant = Annotated[str, typer.Option(help="Whose documents.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Unit = Annotated[str | None, typer.Option(help="What a point is: sentence (default) or document.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Encoder processes (default: none of its own).")]
Ray = Annotated[str | None, typer.Option(help="Run them on this Ray cluster; 'local': Ray on this machine.")]


# What is not one of these is a path; a test compares the list with the commands below.
COMMANDS = (
    "add",
    "pydoc",
    "status",
    "list",
    "show",
    "delete",
    "repair",
    "reindex",
    "migrate",
    "push",
    "snapshot",
    "dashboard",
    "optimize",
    "run-jobs",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in COMMANDS and given[0] != "--help":
        given.insert(0, "add")
    return exit_code_of(lambda: app(given, standalone_mode=False))


def _settings(home: Path | None, indexing: Mapping[str, Any] | None = None) -> Settings:
    from indexing.settings import load_settings

    chosen = {name: value for name, value in (indexing or {}).items() if value is not None}
    overrides: dict[str, Any] = {"home": home} if home is not None else {}
    if chosen:
        overrides["indexing"] = chosen
    return load_settings(**overrides)


def _open(
    home: Path | None,
    *,
    with_encoders: bool = True,
    unit: str | None = None,
    workers: int | None = None,
    ray: str | None = None,
) -> Index:
    from indexing.session import Index

    settings = _settings(home, {"unit": unit, "workers": workers, "ray": ray})
    if not with_encoders and settings.catalog.url is None and not (settings.home / "catalog.db").exists():
        raise InputError(f"no index at {settings.home}; create one with: python -m indexing PATH")
    return Index.open(settings, with_encoders=with_encoders)


def _finish(report: IngestReport, as_json: bool) -> int:
    from indexing.display import report_json, summary, write_json

    if as_json:
        write_json(report_json(report))
    else:
        summary(report)
    return 1 if report.failures else 0


@app.command()
def add(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, and allowed URLs.")],
    home: Home = None,
    tenant: Tenant = "default",
    prune: Annotated[bool, typer.Option("--prune", help="Forget sources under PATHS that are gone.")] = False,
    unit: Unit = None,
    workers: Workers = None,
    ray: Ray = None,
    as_json: AsJson = False,
) -> int:
    """Index files; unchanged ones are skipped, so run it as often as you like."""
    from indexing.display import TerminalProgress
    from indexing.fetch.policy import check_url, is_url
    from indexing.ingest import IngestReport, add_paths, add_urls

    urls = [path for path in paths if is_url(path)]
    files = [Path(path) for path in paths if not is_url(path)]
    report = IngestReport()
    with (
        _open(home, unit=unit, workers=workers, ray=ray) as index,
        TerminalProgress() as progress,
    ):
        for url in urls:  # what is not allowed is said before anything is done
            check_url(url, index.settings.fetch)
        if files:
            report.include(add_paths(index, files, tenant=tenant, prune=prune, progress=progress))
        if urls:
            report.include(add_urls(index, urls, tenant=tenant, progress=progress))
    return _finish(report, as_json)


@app.command()
def pydoc(home: Home = None, tenant: Tenant = "default", as_json: AsJson = False) -> int:
    """Index the language reference that is inside this Python: a corpus without a download."""
    from indexing.display import TerminalProgress
    from indexing.ingest import add_texts
    from indexing.topics import PREFIX, python_topics

    with _open(home) as index, TerminalProgress() as progress:
        report = add_texts(index, python_topics(), tenant=tenant, prune_prefix=PREFIX, progress=progress)
    return _finish(report, as_json)


@app.command()
def status(
    home: Home = None,
    tenant: Annotated[str | None, typer.Option(help="Count one tenant's documents (default: all).")] = None,
    as_json: AsJson = False,
) -> int:
    """Counts, encoders, sizes, and whether catalogue and collection agree."""
    from indexing.display import table, write, write_json
    from indexing.status import status_of

    with _open(home, with_encoders=False) as index:
        body = status_of(index, tenant)
    if as_json:
        write_json(body)
    else:
        collection = body.pop("collection") or {}
        rows = [(name, value) for name, value in body.items() if value is not None]
        table([*rows, *((f"collection {name}", value) for name, value in collection.items())])
        if body["consistent"] is False and "collection_error" not in body:
            write("catalogue and collection differ; run: python -m indexing repair")
    return 0 if body["consistent"] is not False else 1


@app.command("list")
def list_documents(
    home: Home = None,
    tenant: Tenant = "default",
    limit: Annotated[int, typer.Option(min=1)] = 100,
    after: Annotated[str | None, typer.Option(help="Begin behind this document id.")] = None,
    as_json: AsJson = False,
) -> int:
    """Documents by id, with sentences, title and first source."""
    from indexing.display import document_json, table, write_json

    with _open(home, with_encoders=False) as index:
        records = index.catalog.documents(tenant, limit=limit, after=after)
    if as_json:
        write_json([document_json(record) for record in records])
    else:
        rows = [
            (record.doc_id, record.sentences, record.title, record.sources[0] if record.sources else "")
            for record in records
        ]
        table(rows, ("document", "sentences", "title", "source"))
    return 0


@app.command()
def show(
    doc: Annotated[str, typer.Argument(metavar="DOC", help="A document id.")],
    home: Home = None,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> int:
    """One document: its fields, its tree of sections, its sentences with offsets."""
    from dataclasses import asdict

    from indexing.display import document_json, section_counts, show_document, write_json

    with _open(home, with_encoders=False) as index:
        record = index.catalog.document(tenant, doc)
        sentences = index.catalog.sentences(tenant, doc)
    if as_json:
        body = document_json(record)
        body["sections"] = section_counts(sentences)
        body["sentence_list"] = [asdict(sentence) for sentence in sentences]
        write_json(body)
    else:
        show_document(record, sentences)
    return 0


@app.command()
def delete(
    doc: Annotated[str, typer.Argument(metavar="DOC", help="A document id.")],
    home: Home = None,
    tenant: Tenant = "default",
) -> int:
    """Remove a document; indexing its file again brings it back."""
    from indexing.display import write
    from indexing.ingest import delete_document

    with _open(home, with_encoders=False) as index:
        delete_document(index, tenant, doc)
    write(f"deleted {doc}")
    return 0


@app.command()
def repair(home: Home = None, as_json: AsJson = False) -> int:
    """Salvage a damaged collection and index again what is missing in it."""
    from dataclasses import asdict

    from indexing.display import TerminalProgress, table, write_json
    from indexing.ingest.reconcile import repair_index

    with _open(home) as index, TerminalProgress() as progress:
        done = repair_index(index, progress)
    if as_json:
        write_json(asdict(done))
    else:
        table(
            [
                ("shard", "salvaged" if done.damaged else "sound"),
                ("missing points", f"{done.missing}, made again"),
                ("surplus points", f"{done.surplus}, deleted"),
                ("sources corrected", done.renamed),
            ]
        )
    return 0


@app.command()
def reindex(home: Home = None, workers: Workers = None, ray: Ray = None, as_json: AsJson = False) -> int:
    """Build the collection anew from the stored text; without a pause for searches: `migrate`."""
    from indexing.display import TerminalProgress
    from indexing.ingest.reconcile import reindex as build_anew

    with _open(home, workers=workers, ray=ray) as index, TerminalProgress() as progress:
        report = build_anew(index, progress)
    return _finish(report, as_json)


@app.command()
def optimize(home: Home = None) -> int:
    """Build the search graph now and wait for it; searches are answered meanwhile."""
    from indexing.display import write

    with _open(home, with_encoders=False) as index:
        changed = index.bridge(index.collection.optimize, wait=True)
    write("optimised" if changed else "nothing to do")
    return 0


@app.command("run-jobs")
def run_queued_jobs(home: Home = None) -> int:
    """Work off the jobs that the service queued; the service starts this itself."""
    from indexing.display import write
    from indexing.jobs import run_jobs

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    with _open(home) as index:
        count = run_jobs(index)
    write(f"{count} jobs")
    return 0
