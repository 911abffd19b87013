"""``python -m distill models``: the registry of models, and which of them is in service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from distill.registry import ModelRegistry

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List the models, add one, promote one, roll back; a running service follows.",
)

Home = Annotated[Path | None, typer.Option(help="The index's home folder; default: as the service's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.command("list")
def list_models(home: Home = None, as_json: AsJson = False) -> None:
    """List the registered models and the history of the promoted one."""
    registry, _ = _open(home)
    models, pointer = registry.models(), registry.pointer()
    if as_json:
        _print_json({"models": [_row(one) for one in models], "pointer": pointer.model_dump(mode="json")})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "kind", "runs as", "scripts", "MB", "in service", box=None)
    for one in models:
        scripts = "all" if one.scripts is None else ", ".join(one.scripts)
        table.add_row(
            one.id,
            one.kind,
            one.runs,
            scripts,
            f"{one.megabytes:g}",
            one.trouble or ("yes" if one.promoted else ""),
        )
    console = Console(soft_wrap=True)
    console.print(table)
    if pointer.model is None:
        console.print("in service: the model that comes with Winnow")
    for change in pointer.history:
        forced = ", forced" if change.forced else ""
        target = change.model or "the shipped model"
        console.print(f"{change.at} {change.action}: {target}{forced}", highlight=False)


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="An exported reranker, or a cross-encoder student.")],
    home: Home = None,
) -> None:
    """Copy a model into the registry and print its name there."""
    registry, _ = _open(home)
    typer.echo(registry.add(folder))


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="A name that list shows.")],
    gate: Annotated[
        list[Path] | None,
        typer.Option(
            "--gate", help="Labelled lists it must not be worse on, like the training data; repeatable."
        ),
    ] = None,
    gate_out: Annotated[
        list[Path] | None, typer.Option("--gate-out", help="The same, unlike the training data; repeatable.")
    ] = None,
    layout: Annotated[str, typer.Option(help="Of the gate: labels, graded, listwise, pointwise.")] = "labels",
    force: Annotated[
        bool, typer.Option("--force", help="Promote a worse model all the same; recorded.")
    ] = False,
    home: Home = None,
) -> None:
    """Put a model into service; with --gate, only when it is not worse than the one in service."""
    registry, settings = _open(home)
    from distill.promotion import GateData
    from distill.promotion import promote as run

    data = GateData(gate or (), gate_out or (), layout)
    change = run(registry, settings.rerank, name, data=data, force=force)
    typer.echo(f"{change.model} is in service" + (" (forced)" if change.forced else ""))


@app.command()
def rollback(home: Home = None) -> None:
    """Go back to the model before the promoted one."""
    registry, _ = _open(home)
    change = registry.rollback()
    typer.echo(f"{change.model or 'the model that comes with Winnow'} is in service again")


def _open(home: Path | None) -> tuple[ModelRegistry, Any]:
    from distill.registry import ModelRegistry
    from indexing.settings import load_settings

    settings = load_settings(**({} if home is None else {"home": home}))
    return ModelRegistry(settings.home), settings


def _row(one: Any) -> dict[str, object]:
    return {
        "id": one.id,
        "kind": one.kind,
        "runs": one.runs,
        "scripts": one.scripts,
        "megabytes": one.megabytes,
        "promoted": one.promoted,
        "trouble": one.trouble,
    }


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
