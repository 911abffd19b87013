"""``python -m distill queries``: from a file, from the service's log, or written by a language model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from distill.queries.files import QueryRow
    from distill.queries.generate import GenerationReport, GenerationSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def queries(
    output: Annotated[Path, typer.Option(help="Queries as JSON lines; .gz compresses.")],
    from_file: Annotated[Path | None, typer.Option(help="Text, one a line, or JSON lines.")] = None,
    from_log: Annotated[Path | None, typer.Option(help="The service's log (serving.query_log).")] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Let a language model write them about passages of the index.")
    ] = False,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Queries never to use: qrels, queries, candidates; repeatable.")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Index folder (default: WINNOW_HOME).")] = None,
    tenant: Annotated[str, typer.Option(help="Whose log lines, whose documents.")] = "default",
    min_count: Annotated[int, typer.Option(min=1, help="From the log: asked at least so often.")] = 1,
    passages: Annotated[int, typer.Option(min=1, help="To generate: passages read.")] = 100,
    per_passage: Annotated[int | None, typer.Option(help="To generate: queries asked for each.")] = None,
    url: Annotated[str | None, typer.Option(help="To generate: an OpenAI-compatible server.")] = None,
    model: Annotated[str | None, typer.Option(help="To generate: name the server knows it by.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="TEACHER_API_KEY", show_envvar=True, help="Better not typed here.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="To generate: passages asked at once.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the draw of passages.")] = 0,
) -> int:
    """Write queries to a file; the same question is written once, a held-out one never."""
    from distill.labelling.config import make_section
    from distill.labelling.export import write_lines
    from distill.queries.files import read_queries
    from distill.queries.held_out import read_held_out
    from distill.queries.log import read_query_log
    from indexing.errors import InputError

    if (from_file is not None) + (from_log is not None) + generate != 1:
        raise InputError("say where queries come from: one of --from-file, --from-log and --generate")
    report = None
    if from_file is not None:
        rows = read_queries(from_file)
    elif from_log is not None:
        rows = read_query_log(from_log, tenant=tenant, min_count=min_count)
    else:
        from distill.queries.generate import GenerationSettings

        given = {"url": url, "model": model, "api_key": api_key, "per_passage": per_passage}
        settings = make_section(GenerationSettings, "generation", {}, given)
        rows, report = _generate(settings, home, tenant, passages, seed, concurrency)
    refusing = read_held_out(held_out or [])
    kept = [row for row in rows if refusing.refuses(row.query) is None]
    write_lines(output, (row.as_json() for row in kept))
    _say(len(kept), len(rows) - len(kept), output, report)
    return 1 if not kept or (report is not None and report.failed) else 0


def _generate(
    settings: GenerationSettings, home: Path | None, tenant: str, count: int, seed: int, concurrency: int
) -> tuple[list[QueryRow], GenerationReport]:
    import anyio

    from distill.labelling.settings import LabelSettings
    from distill.labelling.store import LabelStore
    from distill.queries.generate import GenerationReport, generate
    from distill.queries.passages import sample_passages
    from indexing.catalog import open_catalog
    from indexing.errors import InputError
    from indexing.settings import load_settings

    service = load_settings(**({} if home is None else {"home": home}))
    catalog = open_catalog(service)
    try:
        found = sample_passages(catalog, tenant, count, seed=seed)
    finally:
        catalog.close()
    if not found:
        raise InputError(f"nothing is indexed at {service.home}; run: python -m indexing PATH")
    report = GenerationReport()
    asking = LabelSettings(concurrency=concurrency)
    with LabelStore(service.home / "labels.db") as store:
        rows = anyio.run(generate, found, settings, store, asking, report)
    return rows, report


def _say(kept: int, refused: int, output: Path, report: GenerationReport | None) -> None:
    lines: dict[str, object] = {"queries": kept, "held out": refused}
    if report is not None:
        lines["passages"] = f"{report.passages}, {report.asked} asked now, {len(report.failed)} failed"
        for reason, count in sorted(report.dropped.items()):
            lines[f"dropped: {reason}"] = count
        for doc_id, reason in report.failed[:20]:
            sys.stderr.write(f"failed: {doc_id}: {reason}\n")
    lines["written to"] = output
    for name, value in lines.items():
        sys.stdout.write(f"{name:<30} {value}\n")
