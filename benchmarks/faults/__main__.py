"""Every fault of the collection, the engine process and the reranker against the whole service.

::

    python -m benchmarks.faults [--qdrant URL] [--json FILE]

Each row is one search while one part has one fault: what the client saw,
after how long, and what was counted.  The faults of the language model have a
table of their own (``python -m benchmarks.generation_faults``).  Without
``--qdrant`` a stand-in for the server is started from the repository's tests.
Exit code 1 when a row is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults.asking import Outcome
from benchmarks.faults.parts import engine_faults, qdrant_faults, reranker_faults
from benchmarks.provenance import provenance


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one row a fault."""
    lines = [
        "| part | fault | the client saw | degraded | after, s (limit) | counted |",
        "|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        saw = f"{one.status} {one.kind}".strip() + (", Retry-After" if one.retry_after else "")
        mark = "" if one.as_it_should_be else " **NOT AS IT SHOULD BE**"
        lines.append(
            f"| {one.part} | {one.fault} | {saw}{mark} | {'; '.join(one.degraded) or 'no'} "
            f"| {one.seconds:.2f} ({one.limit_s:g}) | {one.counted or 'nothing'} |"
        )
    return "\n".join(lines)


async def all_outcomes(qdrant: str | None) -> list[Outcome]:
    """Run every fault of every part."""
    return [*await reranker_faults(), *await engine_faults(), *await qdrant_faults(qdrant)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--qdrant", help="address of a real server; its collection `winnow` is used")
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    outcomes = asyncio.run(all_outcomes(options.qdrant))
    sys.stdout.write(table(outcomes) + "\n")
    if options.json is not None:
        body = {"provenance": provenance(), "outcomes": [asdict(one) for one in outcomes]}
        options.json.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0 if all(one.as_it_should_be for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
