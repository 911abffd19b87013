"""``python -m benchmarks.embed``: an encoder before and after its fine-tuning, over whole corpora.

Exact search: every query against every passage, so no index and no first
stage stands between the encoder and its figures.  Both sides get the same
queries; p is corrected (Holm) over all sets and measures of the report.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.evaluate.compare import Change, change, corrected
from benchmarks.evaluate.markdown import p_text
from benchmarks.provenance import provenance
from indexing.errors import InputError, WinnowError

if TYPE_CHECKING:
    from distill.embedding.sets import RetrievalSet
    from indexing.encoders.protocols import DenseEncoder

MEASURES = ("MAP", "MRR@10", "NDCG@10")
EXIT_REFUSED = 2
_WORST = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Compared:
    """One set and one prefix length (0: the whole vector): what changed in each measure."""

    name: str
    domain: str
    documents: int
    queries: int
    dimensions: int
    changes: tuple[Change, ...]


def open_encoder(name: str, threads: int) -> DenseEncoder:
    """Return the encoder of a shipped name, an exported folder or a sentence-transformers folder.

    Raises:
        EncoderError: a folder of neither kind.
    """
    from indexing.encoders import model_folder
    from indexing.encoders.dense import OnnxDenseEncoder
    from indexing.encoders.manifest import MANIFEST
    from indexing.encoders.sentence_transformer import SentenceTransformerEncoder

    folder = model_folder(name)
    if (folder / MANIFEST).is_file():
        return OnnxDenseEncoder(folder, threads=threads)
    return SentenceTransformerEncoder(folder)


def compare_encoders(
    before: DenseEncoder,
    after: DenseEncoder,
    sets: Sequence[tuple[str, RetrievalSet]],
    dimensions: Sequence[int],
    seed: int,
) -> list[Compared]:
    """Return the comparison of each ``(domain, set)``; one more for each prefix length."""
    from distill.embedding.search import Vectors

    found = []
    for domain, one in sets:
        sides = [Vectors(encoder, one) for encoder in (before, after)]
        for length in (0, *dimensions):
            old, new = (side.report(length or None, MEASURES) for side in sides)
            changes = tuple(change(old, new, measure, seed) for measure in MEASURES)
            found.append(Compared(one.name, domain, len(one.corpus), len(one.queries), length, changes))
        typer.echo(f"{one.name}: done", err=True)
    family = iter(corrected([one for part in found for one in part.changes]))
    return [
        Compared(
            part.name,
            part.domain,
            part.documents,
            part.queries,
            part.dimensions,
            tuple(next(family) for _ in part.changes),
        )
        for part in found
    ]


def markdown(found: Sequence[Compared]) -> str:
    """Return a table for each domain, and the queries that lost most."""
    lines: list[str] = []
    for domain in dict.fromkeys(one.domain for one in found):
        lines += [
            f"## {domain}",
            "",
            "| set | measure | before | after | change | 95 % | p (Holm) | w / t / l |",
        ]
        lines.append("|---" * 8 + "|")
        for one in (part for part in found if part.domain == domain):
            size = f", first {one.dimensions} dimensions" if one.dimensions else ""
            for row in one.changes:
                lines.append(
                    f"| {one.name} ({one.queries} queries, {one.documents} passages{size}) | {row.measure} "
                    f"| {row.before:.3f} | {row.after:.3f} | {row.difference:+.4f} "
                    f"| {row.low:+.4f} to {row.high:+.4f} | {p_text(row.p_holm)} "
                    f"| {row.wins} / {row.ties} / {row.losses} |"
                )
        lines.append("")
    for one in found:
        lost = sorted((loss, query_id) for query_id, loss in one.changes[-1].differences.items() if loss < 0)
        if lost and not one.dimensions:
            named = ", ".join(f"{query_id} ({loss:+.3f})" for loss, query_id in lost[:_WORST])
            lines.append(f"{one.name}, {MEASURES[-1]}, lost most: {named}")
    return "\n".join(lines)


def as_json(found: Sequence[Compared], names: tuple[str, str], seed: int) -> dict[str, object]:
    """Return the report with per-query differences and how it came to be."""
    return {
        **provenance(),
        "seed": seed,
        "before": Path(names[0]).name,
        "after": Path(names[1]).name,
        "sets": [
            {
                "name": one.name,
                "domain": one.domain,
                "documents": one.documents,
                "queries": one.queries,
                "dimensions": one.dimensions or "all",
                "rows": [
                    {"name": side}
                    | {row.measure.lower(): round(getattr(row, side), 4) for row in one.changes}
                    for side in ("before", "after")
                ],
                "changes": {
                    row.measure: {
                        "difference": row.difference,
                        "interval_95": [row.low, row.high],
                        "p": row.p,
                        "p_holm": row.p_holm,
                        "per_query": dict(row.differences),
                    }
                    for row in one.changes
                },
            }
            for one in found
        ],
    }


@app.command()
def main(
    after: Annotated[str, typer.Option(help="An exported or sentence-transformers folder.")],
    before: Annotated[str, typer.Option(help="The same, or a shipped name.")] = "all-MiniLM-L6-v2",
    in_domain: Annotated[list[Path] | None, typer.Option(help="A judged set; repeatable.")] = None,
    out_of_domain: Annotated[list[Path] | None, typer.Option(help="A judged set; repeatable.")] = None,
    trained_on: Annotated[
        list[Path] | None, typer.Option(help="Its queries are taken out of every set, by text; repeatable.")
    ] = None,
    dimensions: Annotated[list[int] | None, typer.Option(help="Also with vectors cut to this.")] = None,
    max_queries: Annotated[int | None, typer.Option(min=2, help="The first so many of each set.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: all cores.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the intervals and the test.")] = 20,
    output: Annotated[Path | None, typer.Option(help="Folder for report.md and report.json.")] = None,
) -> None:
    """Compare two encoders on held-out queries, in and out of domain."""
    from distill.embedding.sets import plain, read_set

    logging.basicConfig(level="WARNING", stream=sys.stderr)
    try:
        known = frozenset(
            plain(text) for path in trained_on or () for text in read_set(path).queries.values()
        )
        given = [("in domain", path) for path in in_domain or ()]
        given += [("out of domain", path) for path in out_of_domain or ()]
        if not given:
            raise InputError("name at least one set with --in-domain or --out-of-domain")
        sets = []
        for domain, path in given:
            one = read_set(path).without_texts(known)
            sets.append((domain, one.only(list(one.queries)[:max_queries])))
        found = compare_encoders(
            open_encoder(before, threads), open_encoder(after, threads), sets, dimensions or (), seed
        )
        typer.echo(markdown(found))
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            (output / "report.md").write_text(markdown(found) + "\n", encoding="utf-8")
            text = json.dumps(as_json(found, (before, after), seed), indent=1)
            (output / "report.json").write_text(text + "\n", encoding="utf-8")
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error


if __name__ == "__main__":
    app()
