"""``python -m distill embed``: fine-tune the dense encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from distill.embedding.settings import EmbedSettings

app = typer.Typer(add_completion=False, help="Fine-tune the dense encoder; goes on where it stopped.")


Data = Annotated[
    list[Path] | None,
    typer.Option(help="Pairs to train on: a folder or file of pairs, BEIR, LlamaIndex QA JSON; repeatable."),
]
Labels = Annotated[list[Path] | None, typer.Option(help="For kl: a file of a teacher's lists; repeatable.")]
LayoutName = Annotated[str, typer.Option(help="Of --labels: labels, graded, listwise or pointwise.")]
Dev = Annotated[
    list[Path] | None,
    typer.Option(help="Judged sets that choose the checkpoint; else a split by query; repeatable."),
]
HeldOut = Annotated[
    list[Path] | None, typer.Option(help="Sets whose queries are never trained on; repeatable.")
]
OutOfDomain = Annotated[
    list[Path] | None, typer.Option(help="Judged sets on which the encoder may not lose; repeatable.")
]


@app.command()
def embed(
    output: Annotated[Path, typer.Option(help="The run's folder; the model goes into its model/.")],
    config: Annotated[Path | None, typer.Option(help="A TOML recipe; the options below win over it.")] = None,
    data: Data = None,
    labels: Labels = None,
    layout: LayoutName = "labels",
    dev: Dev = None,
    held_out: HeldOut = None,
    out_of_domain: OutOfDomain = None,
    base: Annotated[str | None, typer.Option(help="A model folder, or all-MiniLM-L6-v2.")] = None,
    name: Annotated[str | None, typer.Option(help="The encoder's name in its manifest.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the resulting weights.")] = None,
    loss: Annotated[str | None, typer.Option(help="infonce, or kl.")] = None,
    negatives: Annotated[int | None, typer.Option(help="Mined a query; 0: in-batch only.")] = None,
    margin: Annotated[float | None, typer.Option(help="Share by which a negative must score lower.")] = None,
    matryoshka: Annotated[str | None, typer.Option(help="Prefix lengths: 256,128,64.")] = None,
    lora_rank: Annotated[int | None, typer.Option(help="0: every weight is trained.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens the encoder reads; else the base's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Queries a batch.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Batches an optimiser step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimiser steps, in place of epochs.")] = None,
    eval_steps: Annotated[int | None, typer.Option(help="Steps between looks at dev.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of torch on a CPU.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of draws, dropout and LoRA's start.")] = None,
) -> None:
    """Fine-tune the dense encoder on pairs or on a teacher's scores."""
    from distill.embedding.settings import read_recipe

    settings = read_recipe(
        config,
        {
            "base": base,
            "name": name,
            "licence": licence,
            "loss": loss,
            "matryoshka": _numbers(matryoshka),
            "lora_rank": lora_rank,
            "precision": precision,
            "max_tokens": max_tokens,
            "seed": seed,
            "negatives": {"count": negatives, "margin": margin},
            "schedule": {
                "batch_size": batch_size,
                "accumulate": accumulate,
                "learning_rate": learning_rate,
                "epochs": epochs,
                "max_steps": max_steps,
                "eval_steps": eval_steps,
                "threads": threads,
            },
        },
    )
    _run(settings, output, layout, data, labels, dev, held_out, out_of_domain)


def _run(
    settings: EmbedSettings,
    output: Path,
    layout: str,
    *paths: list[Path] | None,
) -> None:
    """Train, and print the figures as JSON; ``paths`` are data, labels, dev, held-out and other sets."""
    import json
    import shlex
    from typing import cast, get_args

    from distill.embedding.data import read_data
    from distill.layouts import Layout
    from indexing.errors import InputError

    if layout not in get_args(Layout):
        raise InputError(f"no layout {layout!r}; there are: {', '.join(get_args(Layout))}")
    data, labels, dev, held_out, outside = (given or [] for given in paths)
    found = read_data(
        settings,
        data=data,
        labels=labels,
        layout=cast(Layout, layout),
        dev=dev,
        held_out=held_out,
        outside=outside,
    )

    from distill.embedding.job import fine_tune

    result = fine_tune(settings, found, output)
    typer.echo(json.dumps({"model": str(result.folder), **result.manifest.metrics}))
    scripts = ["--scripts", ",".join(result.manifest.scripts)] if result.manifest.scripts else []
    command = ["python", "-m", "indexing.encoders.export", str(result.folder), f"{output}/exported"]
    named = ["--name", result.manifest.name, "--source-name", result.manifest.name]
    typer.echo(f"to use it: {shlex.join([*command, *named, *scripts])}", err=True)


def _numbers(text: str | None) -> list[int] | None:
    from indexing.errors import SettingsError

    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise SettingsError(f"--matryoshka takes numbers, as in 256,128,64; got {text!r}") from error
