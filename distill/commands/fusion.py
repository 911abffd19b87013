"""``python -m distill fusion``: the weight of dense and sparse that labelled questions choose."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.layouts import Layout

if TYPE_CHECKING:
    from distill.fusion_weight import Choice, FusionSettings, Weighed
    from distill.training.dev import DevList
    from indexing.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def fusion(
    labels: Annotated[list[Path], typer.Option(help="Labelled passages of the index; repeatable.")],
    layout: Annotated[Layout, typer.Option(help="Of --labels.")] = "labels",
    home: Annotated[Path | None, typer.Option(help="Index folder (default: WINNOW_HOME).")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose documents.")] = None,
    steps: Annotated[int | None, typer.Option(help="Weights tried between 0 and 1, plus one.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the folds and the test.")] = None,
) -> None:
    """Try retrieval.dense_weight from 0 to 1 and say which to set; changes nothing itself."""
    import anyio

    from distill.fusion_weight import FusionSettings
    from distill.labelling.config import make_section
    from distill.layouts import read_labels
    from distill.training.dev import pools_of
    from indexing.settings import load_settings

    options: dict[str, object] = {"tenant": tenant, "steps": steps, "seed": seed}
    settings = make_section(FusionSettings, "fusion", {}, options)
    pools = pools_of([one for path in labels for one in read_labels(path, layout)])
    service = load_settings(**({} if home is None else {"home": home}))
    anyio.run(_fusion, pools, settings, service)


async def _fusion(pools: Sequence[DevList], settings: FusionSettings, service: Settings) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from distill.fusion_weight import choose, grid, numbered, weigh
    from retrieval.search import Searcher

    questions = [pool.query for pool in pools]
    numbered(questions, settings)  # too few are refused before any search
    current = service.retrieval.dense_weight
    weights = grid(settings.steps, current)
    # The search reranks nothing here, so it need not load the service's model.
    plain = service.model_copy(update={"rerank": service.rerank.model_copy(update={"model": "none"})})
    weighed: dict[float, Weighed] = {}
    async with await Searcher.open(plain) as searcher:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("searching", total=len(weights) * len(pools))
            for weight in weights:
                retrieval = service.retrieval.model_copy(update={"dense_weight": weight})
                weighed[weight] = await weigh(
                    searcher.with_retrieval(retrieval), pools, settings.tenant, lambda: bar.advance(task)
                )
    _say(weighed, choose(weighed, questions, current, settings))


def _say(weighed: Mapping[float, Weighed], choice: Choice) -> None:
    lines = ["dense_weight  NDCG@10  labelled of the first ten"]
    for weight, one in weighed.items():
        note = "  in service" if weight == choice.current else "  best" if weight == choice.best else ""
        lines.append(f"{weight:<13g} {one.mean:<8.3f} {one.judged:.0%}{note}")
    lines += [
        "",
        f"questions that did not choose it: {choice.held_out:.3f} against {choice.before:.3f}, "
        f"{choice.held_out - choice.before:+.3f}, p {choice.p:.4f}, {choice.questions} questions",
        f"set retrieval.dense_weight = {choice.weight:g}"
        if choice.weight != choice.current
        else f"keep retrieval.dense_weight = {choice.current:g}: no other is shown to be better",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
