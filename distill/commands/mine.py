"""``python -m distill mine``: the candidates of each query, from the live index."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from distill.mining.miner import MiningReport, Score
    from distill.mining.settings import MiningSettings
    from distill.queries.files import QueryRow
    from indexing.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def mine(
    queries: Annotated[Path, typer.Option(help="Queries: text, one a line, or JSON lines.")],
    output: Annotated[Path, typer.Option(help="Candidates as JSON lines; .gz compresses.")],
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Queries never to use: qrels, queries, candidates; repeatable.")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Index folder (default: WINNOW_HOME).")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose documents.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Best of the hybrid search, all taken.")] = None,
    each_side: Annotated[
        int | None, typer.Option(help="Best of the dense and of the sparse side, all taken too.")
    ] = None,
    hard_negatives: Annotated[int | None, typer.Option(help="Drawn from the ranks below.")] = None,
    from_rank: Annotated[int | None, typer.Option(help="First rank they are drawn from.")] = None,
    to_rank: Annotated[int | None, typer.Option(help="Last rank they are drawn from.")] = None,
    window_size: Annotated[int | None, typer.Option(help="Sentences on each side of a hit.")] = None,
    student: Annotated[
        str | None, typer.Option(help="Reranker folder whose scores are written beside the candidates.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="With --student: drop what scores within it of the known answer."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw.")] = None,
) -> int:
    """Collect candidates.  Held-out queries are refused by id and by text, and counted."""
    import anyio

    from distill.labelling.config import make_section
    from distill.mining.settings import MiningSettings
    from distill.queries.files import read_queries
    from distill.queries.held_out import read_held_out
    from indexing.errors import SettingsError
    from indexing.settings import load_settings

    options: dict[str, object] = {
        "tenant": tenant,
        "top_k": top_k,
        "each_side": each_side,
        "hard_negatives": hard_negatives,
        "from_rank": from_rank,
        "to_rank": to_rank,
        "window_size": window_size,
        "margin": margin,
        "seed": seed,
    }
    settings = make_section(MiningSettings, "mining", {}, options)
    if margin is not None and student is None:
        raise SettingsError("--margin needs --student: without a model's scores there is nothing to compare")
    rows = read_queries(queries)
    refusing = read_held_out(held_out or [])
    kept = [row for row in rows if refusing.refuses(row.query) is None]
    service = load_settings(**({} if home is None else {"home": home}))
    report = anyio.run(_mine, kept, settings, service, student, output)
    _say(report, len(rows) - len(kept), output)
    return 0 if report.queries > report.empty else 1


async def _mine(
    rows: list[QueryRow], settings: MiningSettings, service: Settings, student: str | None, output: Path
) -> MiningReport:
    from rich.console import Console
    from rich.progress import Progress

    from distill.labelling.export import write_lines
    from distill.mining.miner import MiningReport, mine
    from retrieval.search import Searcher

    report = MiningReport()
    score = None if student is None else _scorer(service, student)
    # The search reranks nothing here, so it need not load the service's model.
    plain = service.model_copy(update={"rerank": service.rerank.model_copy(update={"model": "none"})})
    lines: list[str] = []
    async with await Searcher.open(plain) as searcher:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("mining", total=len(rows))
            async for mined in mine(rows, searcher, settings, report, score):
                lines.append(mined.as_json())
                bar.update(task, completed=report.queries)
    write_lines(output, iter(lines))
    return report


def _scorer(service: Settings, folder: str) -> Score:
    from collections.abc import Sequence

    from indexing.errors import SettingsError
    from retrieval.rerank import load_reranker

    reranker = load_reranker(service.rerank.model_copy(update={"model": folder}), service.home)
    if reranker is None:
        raise SettingsError(f"--student {folder!r} names no reranker")

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        return [float(logit) for logit in reranker.score(query, list(texts)).logits]

    return score


def _say(report: MiningReport, refused: int, output: Path) -> None:
    lines = {
        "queries": report.queries,
        "held out": refused,
        "without hits": report.empty,
        "candidates": report.candidates,
        "duplicates": report.duplicates,
        "false negatives": f"{report.false_negatives} dropped",
        "answers added": report.added_positives,
        "written to": output,
    }
    for name, value in lines.items():
        sys.stdout.write(f"{name:<15} {value}\n")
