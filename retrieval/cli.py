"""``python -m retrieval "question"``: ranked passages in the terminal.

Imports that take time happen inside the command: ``--help`` answers at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from indexing.settings import Settings
    from retrieval.records import SearchRequest, SearchResponse

EXIT_NOTHING = 1
EXIT_REFUSED = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

ModeName = Literal["hybrid", "dense", "sparse"]
FusionName = Literal["rrf", "dbsf", "weighted"]


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="Also KEY!=V, KEY^=PREFIX, KEY>=3; repeatable."),
    ] = None,
    mode: Annotated[ModeName | None, typer.Option(help="Which sides to search.")] = None,
    fusion: Annotated[FusionName | None, typer.Option(help="How the sides are joined.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Candidates fetched from each side.")] = None,
    top_n: Annotated[int | None, typer.Option(help="Passages shown.")] = None,
    window_size: Annotated[int | None, typer.Option(help="Sentences on each side of a hit.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose documents.")] = "default",
    home: Annotated[Path | None, typer.Option(help="Where collection and catalogue live.")] = None,
    no_rerank: Annotated[bool, typer.Option("--no-rerank", help="Skip a configured reranker.")] = False,
    answer: Annotated[bool, typer.Option("--answer", help="Quote the best sentences first.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show ranks, scores and times.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as JSON.")] = False,
) -> None:
    """Search the index.  Exit status: 0 found, 1 nothing found, 2 refused."""
    logging.basicConfig(level="WARNING", format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    from indexing.errors import WinnowError
    from indexing.settings import load_settings
    from retrieval.filter_arguments import parse_filter_arguments
    from retrieval.records import SearchRequest

    try:
        request = SearchRequest(
            question,
            tenant=tenant,
            mode=mode,
            top_k=top_k,
            top_n=top_n,
            filter=parse_filter_arguments(filters or ()),
            rerank=False if no_rerank else None,
            window_size=window_size,
            fusion=fusion,
        )
        overrides: dict[str, Any] = {} if home is None else {"home": home}
        response = asyncio.run(_search(load_settings(**overrides), request))
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    _print(question, response, answer=answer, explain=explain, as_json=as_json)
    if not response.results:
        raise typer.Exit(EXIT_NOTHING)


async def _search(settings: Settings, request: SearchRequest) -> SearchResponse:
    from retrieval.plan import make_plan
    from retrieval.search import Searcher

    make_plan(request, settings.retrieval)  # refuses a bad request before models load
    async with await Searcher.open(settings) as searcher:
        return await searcher.search(request)


def _print(question: str, response: SearchResponse, *, answer: bool, explain: bool, as_json: bool) -> None:
    from retrieval import render
    from retrieval.answer import extract_answer

    quoted = extract_answer(question, response.results) if answer else None
    if as_json:
        typer.echo(json.dumps(render.as_json(question, response, quoted), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False, emoji=False, markup=False)
    if quoted is not None:
        render.show_answer(console, quoted)
    render.show_results(console, response)
    if explain:
        render.show_explanation(console, response)
    else:
        for reason in response.receipt.degraded:
            typer.echo(f"winnow: degraded: {reason}", err=True)
    if not response.results:
        typer.echo("winnow: nothing found", err=True)


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m retrieval")
