"""``python -m indexing migrate``: another encoder beside the one in use, and the change to it and back.

Everything heavy is imported inside the commands.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexing.migration.change import Standing
    from indexing.session import Index

app = typer.Typer(
    name="python -m indexing migrate",
    help="Build a second collection with other encoders, compare, switch, go back, drop; queries go on.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Home = Annotated[Path | None, typer.Option(help="Index folder (default: WINNOW_HOME, else .winnow).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for running services to follow.")]


@contextmanager
def _index(home: Path | None, *, with_encoders: bool = True) -> Iterator[Index]:
    from indexing.session import Index
    from indexing.settings import load_settings

    overrides: dict[str, Any] = {} if home is None else {"home": home}
    with Index.open(load_settings(**overrides), with_encoders=with_encoders) as index:
        yield index


@app.command()
def start(
    dense: Annotated[str | None, typer.Option(help="Shipped name or model folder.")] = None,
    sparse: Annotated[str | None, typer.Option(help="'bm25', or a SPLADE or BGE-M3 folder.")] = None,
    late_interaction: Annotated[str | None, typer.Option(help="Reranker folder, 'auto', or ''.")] = None,
    min_coverage: Annotated[float | None, typer.Option(help="encoders.min_coverage")] = None,
    bm25_k1: Annotated[float | None, typer.Option(help="encoders.bm25_k1")] = None,
    bm25_b: Annotated[float | None, typer.Option(help="encoders.bm25_b")] = None,
    bm25_stem: Annotated[bool | None, typer.Option(help="encoders.bm25_stem")] = None,
    quantization: Annotated[str | None, typer.Option(help="collection.quantization")] = None,
    home: Home = None,
) -> int:
    """Build the second collection; the configuration still names the encoders in use.

    Killed or interrupted, the same command goes on; without options it goes on
    with the migration that is under way.
    """
    from indexing.display import TerminalProgress, write
    from indexing.migration.backfill import start as build
    from indexing.migration.options import target_of

    named = {
        "dense": dense,
        "sparse": sparse,
        "late_interaction": late_interaction,
        "min_coverage": min_coverage,
        "bm25_k1": bm25_k1,
        "bm25_b": bm25_b,
        "bm25_stem": bm25_stem,
    }
    with _index(home) as index, TerminalProgress() as progress:
        encoders, collection = target_of(index, named, {"quantization": quantization})
        number = build(index, encoders, collection, progress=progress)
    write(f"generation {number} holds every document; next: python -m retrieval.migration")
    return 0


@app.command()
def status(home: Home = None, as_json: AsJson = False) -> int:
    """Which generation is served, and how far the other one is."""
    from indexing.display import write_json
    from indexing.migration.change import standing

    with _index(home, with_encoders=False) as index:
        found = standing(index)
    if as_json:
        write_json(_body(found))
    else:
        _show(found)
    return 0


@app.command()
def switch(
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Without a comparison.")] = False,
    wait_s: Wait = 30.0,
    home: Home = None,
) -> int:
    """Serve the new generation; running services follow without a restart."""
    return _switch(home, back=False, unchecked=unchecked, wait_s=wait_s)


@app.command()
def undo(wait_s: Wait = 30.0, home: Home = None) -> int:
    """Serve the old generation again, which has had every write meanwhile."""
    return _switch(home, back=True, unchecked=True, wait_s=wait_s)


@app.command()
def drop(wait_s: Wait = 30.0, home: Home = None) -> int:
    """Delete the generation that is not served: the new one before a switch, the old one after it."""
    from indexing.display import write
    from indexing.migration.change import drop as delete
    from indexing.migration.sides import changes

    with _index(home) as index:
        number = delete(index, wait_s=wait_s)
        served = index.pair.served
        left = "" if served is None else changes(index.configured.encoders, served)
    write(f"generation {number} is gone")
    if left:
        write(f"change the configuration: {left}")
    return 0


def _switch(home: Path | None, *, back: bool, unchecked: bool, wait_s: float) -> int:
    from indexing.display import TerminalProgress, write
    from indexing.migration.change import followed
    from indexing.migration.change import switch as change

    with _index(home) as index, TerminalProgress() as progress:
        number = change(index, back=back, unchecked=unchecked, progress=progress)
        everybody = followed(index, wait_s=wait_s)
    write(f"generation {number} is served")
    if not everybody:
        write("a process still answers from the other one, which gets every write until it is dropped")
    return 0


def _body(found: Standing) -> dict[str, Any]:
    from indexing.migration.change import shown

    pair = found.pair
    return {
        "served": None if pair.served is None else shown(pair.served),
        "other": None if pair.other is None else shown(pair.other),
        "owed_documents": found.debt.documents,
        "owed_sentences": found.debt.sentences,
        "complete": found.complete,
        "comparison": None if pair.other is None else pair.other.comparison,
    }


def _show(found: Standing) -> None:
    from indexing.display import table, write

    pair = found.pair
    listed = [one for one in (pair.served, pair.other) if one is not None]
    if not listed:
        write("one generation, made by the configured encoders; no migration is under way")
        return
    rows = [
        (one.number, one.state, one.collection, one.encoders["dense"], one.encoders["sparse"], one.created_at)
        for one in sorted(listed, key=lambda one: one.number)
    ]
    table(rows, ("generation", "state", "collection", "dense", "sparse", "since"))
    if pair.beside is not None:
        write(f"owed to the other: {found.debt.documents} documents, {found.debt.sentences} sentences")
        if pair.beside.trouble:
            write(f"its last write failed: {pair.beside.trouble}")
    if pair.other is not None and pair.other.state == "dropping":
        write("it is being dropped; finish with: python -m indexing migrate drop")
