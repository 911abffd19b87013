"""``python -m benchmarks.evaluate``: before and after, on the bundled set or on yours."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from indexing.errors import InputError, WinnowError

if TYPE_CHECKING:
    from benchmarks.evaluate.labels import Language
    from benchmarks.evaluate.result import SetResult
    from benchmarks.evaluate.sets import Sources
    from benchmarks.evaluate.systems import System
    from indexing.settings import Settings

EXIT_REFUSED = 2
PLOT = "report.svg"
OUTPUT = Path("build/evaluation")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_MODEL = "identity, bi-encoder, bi-encoder:FOLDER, auto (what the service runs) or a model folder."


@app.command()
def main(
    data: Annotated[list[str] | None, typer.Option(help="Folder in the BEIR layout, or 'bundled'.")] = None,
    out_of_domain: Annotated[
        list[str] | None, typer.Option(help="The same, from outside the domain.")
    ] = None,
    candidates: Annotated[Path | None, typer.Option(help="Candidates, JSONL; needs --qrels.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="TREC judgements of the candidates.")] = None,
    mteb: Annotated[Path | None, typer.Option(help="JSONL of query, positive[] and negative[].")] = None,
    before: Annotated[str, typer.Option(help=_MODEL)] = "bi-encoder",
    after: Annotated[str, typer.Option(help=_MODEL)] = "auto",
    also: Annotated[list[str] | None, typer.Option(help="Another row, NAME=MODEL; repeatable.")] = None,
    teacher: Annotated[list[str] | None, typer.Option(help="A row from a TREC run, [NAME=]FILE.")] = None,
    output: Annotated[Path, typer.Option(help=f"Folder of report.md, report.json, {PLOT}.")] = OUTPUT,
    lang: Annotated[Literal["en", "zh"], typer.Option(help="Language of the report.")] = "en",
    first_stage: Annotated[
        Literal["bm25", "dense", "hybrid"], typer.Option(help="Makes the pools of BEIR folders.")
    ] = "hybrid",
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="Size of these pools.")] = 50,
    relevant: Annotated[
        int | None, typer.Option(min=1, help="Least grade relevant in MAP and MRR; 1, bundled 2.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals and the tests.")] = 20,
) -> None:
    """Compare two rerankers on the same candidates; without a set, on the bundled one."""
    from benchmarks.evaluate.sets import Sources
    from indexing.settings import load_settings

    logging.basicConfig(level="WARNING", stream=sys.stderr)
    try:
        sources = Sources(
            data or (), out_of_domain or (), candidates, qrels, mteb, first_stage, top_k, relevant
        )
        settings = load_settings()
        systems = _systems(before, after, also or (), teacher or (), settings)
        results = _results(sources, systems, settings, seed)
        report = _write(results, settings, seed, output, lang)
    except (WinnowError, OSError) as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    typer.echo(report)
    typer.echo(f"written: report.md, report.json and {PLOT} in {output}", err=True)


def _systems(
    before: str, after: str, also: Sequence[str], teacher: Sequence[str], settings: Settings
) -> dict[str, System]:
    """Row name -> system, in the order of the table."""
    from benchmarks.evaluate.result import AFTER, BEFORE, FIRST_STAGE
    from benchmarks.evaluate.systems import IDENTITY, RunFile, open_system

    named = [(FIRST_STAGE, IDENTITY), (BEFORE, before), (AFTER, after), *map(_named, also)]
    files = [_named(value if "=" in value else f"{Path(value).stem}={value}") for value in teacher]
    names = [name for name, _ in [*named, *files]]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"every row needs a name of its own; given twice: {', '.join(twice)}")
    # Run files first: a mistake in one shows at once and not after the models are loaded.
    teachers = {name: RunFile(Path(file)) for name, file in files}
    return {**{name: open_system(model, settings) for name, model in named}, **teachers}


def _named(value: str) -> tuple[str, str]:
    name, _, rest = value.partition("=")
    if not name or not rest:
        raise InputError(f"--also and --teacher take NAME=VALUE, not {value!r}")
    return name, rest


def _results(sources: Sources, systems: dict[str, System], settings: Settings, seed: int) -> list[SetResult]:
    from benchmarks.evaluate.measure import measure
    from benchmarks.evaluate.result import compared
    from benchmarks.evaluate.sets import open_sets

    results = []
    for pooled in open_sets(sources, settings):
        typer.echo(f"{pooled.name}: {len(pooled.queries)} queries, {len(systems)} systems ...", err=True)
        results.append(compared(pooled, measure(pooled, systems), seed))
    return results


def _write(results: Sequence[SetResult], settings: Settings, seed: int, output: Path, lang: Language) -> str:
    """Write the three files and return the Markdown."""
    from benchmarks.evaluate.markdown import markdown
    from benchmarks.evaluate.plot import draw
    from benchmarks.evaluate.result import as_json

    result = as_json(results, settings, seed)
    report = markdown(results, result["provenance"], lang, PLOT)
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (output / "report.json").write_text(text + "\n", encoding="utf-8")
    (output / "report.md").write_text(report, encoding="utf-8")
    draw(results[0], output / PLOT, lang)
    return report


if __name__ == "__main__":
    app()
