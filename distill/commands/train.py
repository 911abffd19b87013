"""``python -m distill train``: labels to a student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False, help="Train a student on the labels; goes on where it stopped.")


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="The run's folder: model, checkpoints, log.")],
    config: Annotated[Path | None, typer.Option(help="A TOML recipe; the options below win over it.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the recipe's relative paths; without it the recipe's own.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="A label file, in place of the recipe's sources; repeatable.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Of --labels: labels, graded, listwise, pointwise or pairs.")
    ] = "labels",
    corpus: Annotated[
        Path | None, typer.Option(help="For pairs: the passages negatives are mined from.")
    ] = None,
    consensus: Annotated[
        str | None, typer.Option(help="Of --labels: none, z-score or grade; several teachers as one.")
    ] = None,
    cards: Annotated[
        list[Path] | None, typer.Option("--teacher-card", help="A teacher's card (JSON); repeatable.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="cross-encoder or late-interaction.")] = None,
    base: Annotated[str | None, typer.Option(help="A model folder, or all-MiniLM-L6-v2.")] = None,
    name: Annotated[str | None, typer.Option(help="The student's name in its manifest.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens a student reads.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="margin-mse, kl, ranknet, listnet, lambda, adr-mse, bce or infonce."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="For kl, listnet, infonce.")] = None,
    hard_weight: Annotated[float | None, typer.Option(help="Share of the hard labels' loss.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Batches of one step.")] = None,
    lora_rank: Annotated[int | None, typer.Option(help="0: full fine-tuning.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps between dev figures.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the head, the order and the draws.")] = None,
) -> None:
    """Train a student: a cross-encoder or a late-interaction model."""
    import json
    import logging
    import os

    from distill.errors import TrainingError
    from distill.training.settings import load_recipe
    from indexing.errors import InputError

    if int(os.environ.get("RANK", "0")) > 0:  # the other processes of torchrun say only what went wrong
        logging.getLogger().setLevel(logging.WARNING)
    overrides: dict[str, Any] = {
        "student": {"kind": kind, "base": base, "name": name, "max_tokens": max_tokens},
        "loss": {"name": loss, "temperature": temperature, "hard_weight": hard_weight},
        "schedule": {
            "steps": steps,
            "accumulate": accumulate,
            "precision": precision,
            "evaluate_every": evaluate_every,
        },
        "optimiser": {"learning_rate": learning_rate},
        "lora": {"rank": lora_rank},
        "seed": seed,
    }
    if labels:
        overrides["sources"] = [
            {"path": path, "layout": layout, "corpus": corpus, "consensus": consensus} for path in labels
        ]
    settings = load_recipe(config, _given(overrides), data)
    if not settings.sources:
        raise TrainingError("no data: name --labels FILE, or [[sources]] in --config RECIPE")
    teachers = []
    for path in cards or ():
        try:
            teachers.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is not a teacher card: {error}") from error

    from distill.training.run import train as run

    result = run(settings, output, teachers=teachers)
    typer.echo(json.dumps({"model": str(result.folder), **result.manifest.metrics}))


def _given(options: Any) -> Any:
    """``options`` without what was not given, at any depth."""
    if isinstance(options, dict):
        kept = {key: _given(value) for key, value in options.items() if value is not None}
        return {key: value for key, value in kept.items() if value != {}}
    if isinstance(options, list):
        return [_given(value) for value in options]
    return options
