"""``python -m distill train``: labels to a student."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from distill.training.settings import TrainSettings

app = typer.Typer(add_completion=False, help="Train a student on the labels; goes on where it stopped.")


Labels = Annotated[
    list[Path] | None, typer.Option(help="A label file, in place of the recipe's sources; repeatable.")
]
Layout = Annotated[str, typer.Option(help="Of --labels: labels, graded, listwise, pointwise or pairs.")]
Consensus = Annotated[
    str | None, typer.Option(help="Of --labels: none, z-score or grade; several teachers as one.")
]
Cards = Annotated[
    list[Path] | None, typer.Option("--teacher-card", help="A teacher's card (JSON); repeatable.")
]
Loss = Annotated[
    str | None, typer.Option(help="margin-mse, kl, ranknet, listnet, lambda, adr-mse, bce or infonce.")
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of the recipe's relative paths; without it the recipe's own.")
]
Corpus = Annotated[Path | None, typer.Option(help="For pairs: the passages negatives are mined from.")]


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="The run's folder: model, checkpoints, log.")],
    config: Annotated[Path | None, typer.Option(help="A TOML recipe; the options below win over it.")] = None,
    data: Data = None,
    labels: Labels = None,
    layout: Layout = "labels",
    corpus: Corpus = None,
    consensus: Consensus = None,
    cards: Cards = None,
    kind: Annotated[str | None, typer.Option(help="cross-encoder or late-interaction.")] = None,
    base: Annotated[str | None, typer.Option(help="A model folder, or all-MiniLM-L6-v2.")] = None,
    name: Annotated[str | None, typer.Option(help="The student's name in its manifest.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens a student reads.")] = None,
    layers: Annotated[int | None, typer.Option(help="Keep the base's lowest layers; 0: all.")] = None,
    loss: Loss = None,
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
    from distill.training.settings import load_recipe

    schedule = {"steps": steps, "accumulate": accumulate, "precision": precision}
    overrides: dict[str, Any] = {
        "student": {"kind": kind, "base": base, "name": name, "max_tokens": max_tokens, "layers": layers},
        "loss": {"name": loss, "temperature": temperature, "hard_weight": hard_weight},
        "schedule": {**schedule, "evaluate_every": evaluate_every},
        "optimiser": {"learning_rate": learning_rate},
        "lora": {"rank": lora_rank},
        "seed": seed,
    }
    if labels:
        described = {"layout": layout, "corpus": corpus, "consensus": consensus}
        overrides["sources"] = [{"path": path, **described} for path in labels]
    _run(load_recipe(config, _given(overrides), data), output, cards or ())


def _run(settings: TrainSettings, output: Path, cards: Sequence[Path]) -> None:
    """Train, and print the model's folder and its figures as JSON."""
    from distill.errors import TrainingError

    if int(os.environ.get("RANK", "0")) > 0:  # the other processes of torchrun say only what went wrong
        logging.getLogger().setLevel(logging.WARNING)
    if not settings.sources:
        raise TrainingError("no data: name --labels FILE, or [[sources]] in --config RECIPE")
    teachers = [_card(path) for path in cards]

    from distill.training.processes import leave
    from distill.training.run import train as run

    result = run(settings, output, teachers=teachers)
    typer.echo(json.dumps({"model": str(result.folder), **result.manifest.metrics}))
    leave()


def _card(path: Path) -> Any:
    from indexing.errors import InputError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a teacher card: {error}") from error


def _given(options: Any) -> Any:
    """``options`` without what was not given, at any depth."""
    if isinstance(options, dict):
        kept = {key: _given(value) for key, value in options.items() if value is not None}
        return {key: value for key, value in kept.items() if value != {}}
    if isinstance(options, list):
        return [_given(value) for value in options]
    return options
