"""A search response for a person (the terminal) and for a program (JSON)."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict
from textwrap import shorten
from typing import TYPE_CHECKING

from retrieval.records import Answer, SearchResponse, SearchResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_MATCH = "bold green"
_QUIET = "dim"
_EXCERPT = 100


def as_json(query: str, response: SearchResponse, answer: Answer | None) -> dict[str, object]:
    """Return the response in the shape of ``POST /v1/search``; tuples become lists in JSON."""
    body: dict[str, object] = {"query": query}
    if answer is not None:
        body["answer"] = answer.text
        body["kind"] = answer.kind
        body["citations"] = [asdict(citation) for citation in answer.citations]
    body["results"] = [_result(result) for result in response.results]
    receipt = response.receipt
    stages = [{"name": stage.name, "ms": round(stage.ms, 3), **stage.details} for stage in receipt.stages]
    body["receipt"] = {"stages": stages, "degraded": list(receipt.degraded)}
    return body


def _result(result: SearchResult) -> dict[str, object]:
    body = {**result._asdict(), "metadata": dict(result.metadata)}
    return {**body, "ranks": result.ranks._asdict(), "scores": result.scores._asdict()}


def show_results(console: Console, response: SearchResponse) -> None:
    """Print the ranked passages, the matched sentences marked."""
    from rich.padding import Padding
    from rich.text import Text

    for rank, result in enumerate(response.results, start=1):
        head = Text(f"{rank}. ", style="bold")
        head.append(_clean(result.title or result.source), style="bold")
        head.append(f"  {_number(result.score)}", style="cyan")
        console.print(head)
        console.print(Padding(Text(_place(result), style=_QUIET), (0, 0, 0, 3)))
        console.print(Padding(_window(result, mark=not console.color_system), (0, 0, 1, 3)))


def show_answer(console: Console, answer: Answer) -> None:
    """Print the answer and where each of its sentences stands."""
    from rich.text import Text

    console.print(Text(_clean(answer.text), style="bold"))
    for one in answer.citations:
        page = "" if one.page is None else f", page {one.page}"
        console.print(Text(_clean(f"{one.label} {one.source}{page}, {one.start}-{one.end}"), style=_QUIET))
    if answer.kind == "extractive":
        console.print(Text("Extractive: sentences of the documents, word for word.", style=_QUIET))
    console.print()


def show_explanation(console: Console, response: SearchResponse) -> None:
    """Print each result's rank and raw score at each stage, then the stages' times."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Why each passage ranks where it does", title_justify="left")
    for name in ("", "dense", "sparse", "fused", "rerank"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("sentence", ratio=1)
    for rank, one in enumerate(response.results, start=1):
        table.add_row(
            str(rank),
            _cell(one.ranks.dense, one.scores.dense),
            _cell(one.ranks.sparse, one.scores.sparse),
            _cell(one.ranks.fused, one.scores.fused),
            _cell(one.ranks.rerank, one.scores.rerank),
            Text(shorten(" ".join(_clean(one.text).split()), _EXCERPT, placeholder="…")),
        )
    if response.results:
        console.print(table)
    console.print(_stages(response))
    for reason in response.receipt.degraded:
        console.print(Text(f"degraded: {_clean(reason)}", style="bold red"))


def _stages(response: SearchResponse) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Stages", title_justify="left")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("details", ratio=1)
    for stage in response.receipt.stages:
        details = ", ".join(f"{name} {_detail(value)}" for name, value in stage.details.items())
        table.add_row(stage.name, f"{stage.ms:.2f}", Text(_clean(details)))
    return table


def _detail(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={inner}" for name, inner in value.items())
    return str(value)


def _cell(rank: int | None, score: float | None) -> str:
    return "-" if rank is None or score is None else f"{rank} ({_number(score)})"


def _number(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 1 else f"{score:.2f}"


def _place(result: SearchResult) -> str:
    parts = [result.source if result.title else "", result.section]
    if result.page is not None:
        parts.append(f"page {result.page}")
    parts.append(f"{result.doc_id} {result.start}-{result.end}")
    more = len(result.sources) - 1
    if more > 0:
        parts.append(f"and {more} more source{'s' if more > 1 else ''}")
    return _clean(" · ".join(part for part in parts if part))


def _window(result: SearchResult, *, mark: bool) -> Text:
    """Return the window with its matched sentences coloured, or between ** without colours."""
    from rich.text import Text

    shown = Text()
    position = result.window_start
    for start, end in result.highlights:
        shown.append(_slice(result, position, start))
        sentence = _slice(result, start, end)
        shown.append(f"**{sentence}**" if mark else sentence, style=None if mark else _MATCH)
        position = end
    shown.append(_slice(result, position, result.window_end))
    return shown


def _slice(result: SearchResult, start: int, end: int) -> str:
    return _clean(result.window[start - result.window_start : end - result.window_start])


def _clean(text: str) -> str:
    """Return the text without what could steer a terminal: controls, direction marks."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if _steers(one) else one for one in text)


def _steers(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs")
