"""Commands that move an index: ``push`` and ``snapshot``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from indexing.settings import Settings

Home = Annotated[Path | None, typer.Option(help="Index folder (default: WINNOW_HOME, else .winnow).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


snapshot = typer.Typer(help="Back up an index, check a backup, restore it.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The snapshot.")]


def push(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Address of the Qdrant server.")],
    home: Home = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make a collection that is there already equal to this one.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 4,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Points a request.")] = 256,
    queries: Annotated[int, typer.Option(min=1, max=10_000, help="Points compared and asked for.")] = 50,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Move the embedded collection to a Qdrant server and compare both; run it again to go on."""
    from indexing.display import TerminalProgress, table, write, write_json
    from indexing.session import Index
    from indexing.transfer.push import PushOptions
    from indexing.transfer.push import push as push_index
    from indexing.transfer.stream import Pace

    options = PushOptions(overwrite, queries, seed, Pace(batch, concurrency))
    with Index.open(existing(home), with_encoders=False) as index, TerminalProgress() as progress:
        report = push_index(index, to, options, progress)
    if as_json:
        write_json(asdict(report))
        return 0
    table(
        [
            ("collection", report.collection),
            ("points", report.points),
            ("sent", f"{report.sent}, {report.before} before"),
            ("deleted there", report.deleted),
            *((f"tenant {tenant}", count) for tenant, count in report.tenants.items()),
            ("compared", f"{report.sampled} points and their neighbours, equal"),
            ("seconds", round(report.seconds, 1)),
        ]
    )
    write("start the service on it with WINNOW_COLLECTION__HOME=server and")
    write("WINNOW_COLLECTION__URL, the same home folder: the catalogue stays there")
    return 0


@snapshot.command()
def create(
    folder: Folder,
    home: Home = None,
    queries: Annotated[int, typer.Option(min=1, max=1000, help="Sample queries kept for `verify`.")] = 20,
) -> int:
    """Copy catalogue, collection, jobs, conversations and keys of one moment; the service goes on."""
    from indexing.display import write
    from indexing.session import Index
    from indexing.snapshots.create import create_snapshot

    with Index.open(existing(home), with_encoders=False) as index:
        manifest = create_snapshot(index, folder, queries=queries)
    points = sum(entry.points for entry in manifest.collections)
    size = sum(size for _, size in manifest.files.values())
    write(f"{folder}: {manifest.documents} documents, {points} points, {size / 1e6:.1f} MB")
    return 0


@snapshot.command()
def verify(folder: Folder) -> int:
    """Check every file's hash, open the copies, compare counts and sample queries."""
    from indexing.display import write
    from indexing.settings import load_settings
    from indexing.snapshots.verify import verify_snapshot

    manifest = verify_snapshot(folder, load_settings())
    samples = sum(len(entry.samples) for entry in manifest.collections)
    write(f"{folder}: sound; {len(manifest.files)} files, {samples} queries answered as before")
    return 0


@snapshot.command()
def restore(folder: Folder, home: Home = None) -> int:
    """Put a snapshot into an empty home folder."""
    from indexing.display import write
    from indexing.settings import load_settings
    from indexing.snapshots.restore import restore_snapshot

    settings = load_settings() if home is None else load_settings(home=home)
    manifest = restore_snapshot(folder, settings)
    write(f"{settings.home}: {manifest.documents} documents of {manifest.created_at}")
    return 0


def existing(home: Path | None) -> Settings:
    """The settings of an index that is there; imported late, so that ``--help`` answers at once."""
    from indexing.transfer.home import existing_home

    return existing_home(home)
