"""``python -m distill export``: a student to a folder that runs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, help="Make a trained model run without torch.")


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A student, or any cross-encoder folder (safetensors).")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    gate: Annotated[
        Path | None, typer.Option("--gate", help="Labelled or candidate lists that variants are measured on.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Of --gate: labels, graded, listwise, pointwise or candidates.")
    ] = "labels",
    queries: Annotated[int, typer.Option(min=1, help="Queries of --gate used.")] = 100,
    max_loss: Annotated[float, typer.Option(min=0, help="NDCG@10 a variant may lose against fp32.")] = 0.005,
    rounds: Annotated[int, typer.Option(min=1, help="Passes over the gate's data, variants in turn.")] = 3,
    int8: Annotated[bool, typer.Option(help="Try int8 weights.")] = True,
    name: Annotated[str | None, typer.Option(help="Default: the student's.")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX id; default: the student's.")] = None,
    scripts: Annotated[
        str | None, typer.Option(help="Writing systems it reads, by comma; default: the student's.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=8, help="Default: the student's.")] = None,
    card: Annotated[Path | None, typer.Option(help="Copied as MODEL_CARD.md.")] = None,
) -> None:
    """Write OUT: an ONNX graph for OpenVINO and ONNX Runtime, its tokenizer, its manifest.

    With --gate every variant (bf16, int8, the other engine) is measured beside
    fp32; what loses quality or is not faster is dropped, and the manifest says why.
    """
    from distill.export import ExportOptions, export_model
    from distill.export.pools import read_pools
    from distill.export.variants import GateBounds

    pools = [] if gate is None else read_pools(gate, layout, limit=queries)
    options = ExportOptions(
        name=name,
        licence=licence,
        scripts=tuple(scripts.split(",")) if scripts else None,
        max_tokens=max_tokens,
        int8=int8,
        pools=pools,
        bounds=GateBounds(max_loss, rounds),
        card=card,
    )
    manifest = export_model(source, out, options)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    typer.echo(f"{out}: {manifest.name}, {manifest.kind}, {size:.1f} MB")
    for one in manifest.variants:
        typer.echo(f"{'kept   ' if one.kept else 'dropped'} {one.runtime} {one.precision}: {one.why}")
