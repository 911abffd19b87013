"""``python -m distill label``: candidates in, a teacher's scores out; goes on where it stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from distill.labelling.runner import LabelReport
    from distill.labelling.settings import LabelSettings
    from distill.mining.rows import MinedList
    from distill.teachers import TeacherSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Kind = Literal["generative-scoring", "completions", "score", "listwise", "precomputed"]
StrategyName = Literal["both", "disagreement", "uncertainty", "top", "random"]


HeldOut = Annotated[
    list[Path] | None,
    typer.Option(help="Queries never to label: qrels, queries, candidates; repeatable."),
]
PriceCompletion = Annotated[float | None, typer.Option(min=0, help="Per 1,000 completion tokens.")]


@app.command()
def label(
    candidates: Annotated[Path, typer.Option(help="JSON lines, as `python -m distill mine` writes them.")],
    output: Annotated[Path, typer.Option(help="Labels as JSON lines; .gz compresses.")],
    config: Annotated[Path | None, typer.Option(help="TOML file: [teacher] and [labelling].")] = None,
    kind: Annotated[Kind | None, typer.Option(help="How the teacher is asked.")] = None,
    url: Annotated[str | None, typer.Option(help="The teacher's server.")] = None,
    model: Annotated[str | None, typer.Option(help="Name the server knows the model by.")] = None,
    instruction: Annotated[str | None, typer.Option(help="What makes a passage relevant.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="TEACHER_API_KEY", show_envvar=True, help="Better not typed here.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Where labels are kept (default: HOME/labels.db).")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Index folder (default: WINNOW_HOME).")] = None,
    held_out: HeldOut = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Label so many pairs, not all.")] = None,
    strategy: Annotated[StrategyName, typer.Option(help="How a budget is spent.")] = "both",
    seed: Annotated[int, typer.Option(help="Of the budget's draws.")] = 0,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Queries asked at the same time.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Per 1,000 prompt tokens.")] = None,
    price_completion: PriceCompletion = None,
    skip_golden: Annotated[
        bool, typer.Option("--skip-golden", help="Do not check the teacher first; the card says so.")
    ] = False,
    recheck: Annotated[bool, typer.Option("--recheck", help="Check the teacher again.")] = False,
) -> int:
    """Ask a teacher for the labels that are missing.  Exit code 1: some queries have none."""
    from distill.labelling.config import make_section, read_config
    from distill.labelling.settings import LabelSettings
    from distill.teachers import TeacherSettings
    from indexing.settings import load_settings

    sections = read_config(config, ("teacher", "labelling"))
    teacher = make_section(
        TeacherSettings,
        "teacher",
        sections.get("teacher", {}),
        {"kind": kind, "url": url, "model": model, "instruction": instruction, "api_key": api_key},
    )
    settings = make_section(
        LabelSettings,
        "labelling",
        sections.get("labelling", {}),
        {
            "concurrency": concurrency,
            "price_prompt": price,
            "price_completion": price_completion,
            "skip_golden": skip_golden or None,
            "recheck": recheck or None,
        },
    )
    if store is None:
        store = load_settings(**({} if home is None else {"home": home})).home / "labels.db"
    lists = _lists(candidates, held_out or [], budget, strategy, seed)
    return _run(lists, teacher, settings, store, output)


def _lists(
    path: Path, held_out: list[Path], budget: int | None, strategy: StrategyName, seed: int
) -> list[MinedList]:
    from distill.labelling.budget import spend
    from distill.mining.rows import read_mined
    from distill.queries.held_out import read_held_out

    lists = read_mined(path)
    refusing = read_held_out(held_out)
    kept = [one for one in lists if refusing.refuses(one.candidates.query) is None]
    if held_out:
        sys.stderr.write(f"{len(lists) - len(kept)} of {len(lists)} queries are held out\n")
    return kept if budget is None else spend(kept, budget, strategy, seed=seed)


def _run(
    lists: list[MinedList], teacher: TeacherSettings, settings: LabelSettings, store: Path, output: Path
) -> int:
    import anyio

    from distill.labelling.export import write_labels
    from distill.labelling.progress import TerminalProgress
    from distill.labelling.runner import label as run
    from distill.labelling.store import LabelStore
    from distill.teachers import open_teacher

    wanted = [one.candidates for one in lists]

    with LabelStore(store) as opened, TerminalProgress() as progress:

        async def work() -> tuple[LabelReport, int]:
            async with open_teacher(teacher) as asked:
                return await run(wanted, asked, opened, settings, progress), opened.register(asked.card)

        report, key = anyio.run(work)
        written = write_labels(output, wanted, opened, key)
    _say(report, written, output)
    return 0 if report.complete else 1


def _say(report: LabelReport, written: tuple[int, int], output: Path) -> None:
    """The report on stdout, the queries that failed on stderr."""
    for query_id, reason in report.failed[:20]:
        sys.stderr.write(f"failed: {query_id}: {reason}\n")
    if len(report.failed) > 20:
        sys.stderr.write(f"failed: {len(report.failed) - 20} more\n")
    if report.unasked:
        sys.stderr.write(f"given up: {report.unasked} queries were not asked any more\n")
    cached = f" ({report.cached_tokens} cached)" if report.cached_tokens else ""
    lines = {
        "teacher": report.teacher,
        "pairs": f"{report.pairs} of {report.queries} queries",
        "known before": report.known,
        "labelled now": f"{report.labelled} in {report.seconds:.1f} s, {report.calls} calls",
        "tokens": f"{report.prompt_tokens} prompt{cached}, {report.completion_tokens} completion",
        "mended answers": report.repairs,
        "cost": f"{report.cost:.4g}",
        "failed queries": len(report.failed),
        "not asked": report.unasked,
        "written": f"{written[1]} labels of {written[0]} lists to {output}",
    }
    for name, value in lines.items():
        sys.stdout.write(f"{name:<15} {value}\n")
