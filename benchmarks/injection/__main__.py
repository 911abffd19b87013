"""``python -m benchmarks.injection``: the attacks against the prompt's structure, and against a model."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.injection.attacks import Attack, checksum, load_attacks
from benchmarks.injection.measure import SIDES, Outcome, rates_table, try_attack
from benchmarks.injection.structure import structure_table
from benchmarks.provenance import provenance
from indexing.errors import WinnowError
from indexing.settings import GenerationSettings
from retrieval.generation.client import open_generator
from retrieval.generation.protocol import Generator

EXIT_REFUSED = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


async def run_attacks(attacks: list[Attack], settings: GenerationSettings) -> tuple[str, list[Outcome]]:
    """Return the model's name and what every attack did.

    Raises:
        GenerationError: the server does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="winnow-injection-") as home:
        model = open_generator(settings, Path(home))
        if model is None:
            raise WinnowError("name the server with --url")
        try:
            await model.check()
            limit = asyncio.Semaphore(settings.concurrency)
            return model.model, list(
                await asyncio.gather(*(_limited(attack, model, limit) for attack in attacks))
            )
        finally:
            await model.aclose()


async def _limited(attack: Attack, model: Generator, limit: asyncio.Semaphore) -> Outcome:
    async with limit:
        outcome = await try_attack(attack, model)
    typer.echo(f"{attack.id}: {'hit' if outcome.fenced else 'held'}", err=True)
    return outcome


@app.command()
def main(
    url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server; none: structure only.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Its model; default: the first it lists.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Attacks tried at once.")] = 4,
    out: Annotated[Path | None, typer.Option(help="A JSON file for the result.")] = None,
) -> None:
    """Try every attack: what it breaks by structure, and with --url how often a model gives in."""
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    attacks = load_attacks()
    languages = {lang: sum(one.lang == lang for one in attacks) for lang in ("en", "zh")}
    head = f"{len(attacks)} attacks ({languages['en']} English, {languages['zh']} Chinese; {checksum()})"
    typer.echo(f"{head}\n\n{structure_table(attacks)}")
    if url is None:
        return
    settings = GenerationSettings(
        url=url,
        model=model,
        concurrency=concurrency,
        cache_salt=False,
        first_token_timeout_s=300.0,  # a small machine takes its time; that is not what is measured
        timeout_s=600.0,
    )
    try:
        name, outcomes = asyncio.run(run_attacks(attacks, settings))
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    typer.echo(f"\n{name}:\n\n{rates_table(outcomes)}")
    if out is not None:
        rows = [
            {
                "id": one.attack.id,
                **{side: getattr(one, side) for side in SIDES},
            }
            for one in outcomes
        ]
        result = {**provenance(), "corpus": checksum(), "model": name, "outcomes": rows}
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
