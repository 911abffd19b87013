"""``python -m retrieval.migration``: compare the two generations of an index that is changing its encoders.

The rest of a migration is ``python -m indexing migrate``; this part searches,
and searching is this room's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexing.command_line import exit_code_of

if TYPE_CHECKING:
    from indexing.settings import Settings
    from retrieval.comparison import Comparison, Question

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def compare(
    queries: Annotated[
        Path | None, typer.Option(help="One question a line, or JSON lines with a field 'query' or 'text'.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Questions taken at most.")] = 100,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Depth of the rankings compared.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the questions drawn from documents.")] = 1,
    tenant: Annotated[str, typer.Option(help="Whose documents.")] = "default",
    home: Annotated[Path | None, typer.Option(help="Index folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Ask both generations the same questions and print how the answers differ.

    Questions come from --queries, else from the service's query log, else they
    are sentences drawn from the documents.
    """
    from indexing.settings import load_settings
    from retrieval.comparison import compare_generations

    overrides: dict[str, Any] = {} if home is None else {"home": home}
    settings = load_settings(**overrides)
    questions, origin = questions_of(settings, queries, tenant, sample, seed)
    made = asyncio.run(compare_generations(settings, questions, tenant=tenant, k=k, origin=origin))
    if as_json:
        typer.echo(json.dumps({**made.stored(), "furthest": made.furthest}, ensure_ascii=False, indent=2))
    else:
        _show(made)
    return 0


def questions_of(
    settings: Settings, queries: Path | None, tenant: str, sample: int, seed: int
) -> tuple[list[Question], str]:
    """Return the questions and where they came from.

    Raises:
        InputError: the file cannot be read.
    """
    from indexing.catalog import open_catalog
    from indexing.errors import InputError
    from retrieval.comparison import Question, drawn_questions

    log = settings.serving.query_log
    path = queries if queries is not None else log
    if path is not None and (queries is not None or path.is_file()):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {error}") from error
        asked = [text for line in lines if (text := _question(line, tenant if queries is None else None))]
        if asked:
            latest = list(dict.fromkeys(reversed(asked)))[:sample]
            return [Question(text) for text in latest], "file" if queries is not None else "query log"
    catalog = open_catalog(settings)
    try:
        return drawn_questions(catalog, tenant, sample, seed), f"documents, seed {seed}"
    finally:
        catalog.close()


def _question(line: str, tenant: str | None) -> str:
    """The question in a line of a file or a log; "" when it is not one, or another tenant's."""
    if not line.startswith("{"):
        return line.strip()
    try:
        body = json.loads(line)
    except ValueError:
        return ""
    if tenant is not None and body.get("tenant") != tenant:
        return ""
    return str(body.get("query") or body.get("text") or "").strip()


def _show(made: Comparison) -> None:
    from indexing.display import table, write

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    rows = [
        ("known item found", number(made.served.known_item), number(made.beside.known_item)),
        (
            f"dense Recall@{made.k} against exact search",
            number(made.served.exact_recall),
            number(made.beside.exact_recall),
        ),
        ("search p50, ms", f"{made.served.p50_ms:.1f}", f"{made.beside.p50_ms:.1f}"),
    ]
    table(
        rows, ("", f"generation {made.served.number} (served)", f"generation {made.beside.number} (beside)")
    )
    write()
    table(
        [
            (f"overlap@{made.k} of sentences", number(made.overlap)),
            (f"overlap@{made.k} of documents", number(made.document_overlap)),
            ("Kendall's tau of the shared ones", number(made.kendall)),
            ("rank-biased overlap, p 0.9", number(made.rank_biased_overlap)),
        ]
    )
    write(f"\n{made.questions} questions from: {made.origin}; the furthest apart:")
    for text, share in made.furthest:
        write(f"  {share:.2f}  {text[:90]}")


def main() -> int:
    """Run the command line; returns the exit code."""
    return exit_code_of(lambda: app(standalone_mode=False))


if __name__ == "__main__":
    sys.exit(main())
