"""Every fault of a teacher against the golden-pair gate: the table of what is caught, and by what.

::

    python -m benchmarks.teacher_faults [--json FILE]

Each way of asking is run against a fake server with one fault at a time, and
without a fault.  Exit code 1 when a fault passes, or a healthy teacher does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.provenance import provenance
from benchmarks.teacher_model import Fault
from benchmarks.teacher_server import FakeTeacherServer
from distill.errors import GoldenGateError, TeacherError
from distill.golden import GoldenBounds, check_teacher
from distill.teachers import TeacherSettings, open_teacher
from distill.teachers.settings import Method

ASKED: tuple[Method, ...] = ("generative-scoring", "completions", "score", "listwise")
_LABELLED: tuple[Method, ...] = ("generative-scoring", "completions")
_POINTWISE: tuple[Method, ...] = (*_LABELLED, "score")

# What each fault is, and the ways of asking that can have it.
FAULTS: Mapping[Fault, tuple[str, tuple[Method, ...]]] = {
    "none": ("a healthy teacher", ASKED),
    "swapped": ("yes and no exchanged, or the sign", ASKED),
    "constant": ("one score for everything", _POINTWISE),
    "missing-token": ("a label is missing from the answer", (*_LABELLED, "listwise")),
    "floored": ("everything below 0 is given as -10", _POINTWISE),
    "saturated": ("probabilities of exactly 0 and 1", ("generative-scoring",)),
    "probabilities": ("a sigmoid nobody asked for", ("score",)),
    "order-dependent": ("the place in the batch or list counts", ASKED),
    "nan": ("scores that are not numbers", _POINTWISE),
    "length": ("wrong template: the passage's length counts", ASKED),
    "query-blind": ("wrong template: the query is not read", ASKED),
    "truncated": ("only the first 40 words are read", ASKED),
    "short-answer": ("one score too few", _POINTWISE),
    "split-label": ("'yes' is two tokens", _LABELLED),
    "gibberish": ("prose instead of a permutation", ("listwise",)),
    "input-order": ("the order of the input comes back", ("listwise",)),
    "http-500": ("every answer is a 500", ASKED),
    "http-429": ("every answer is a 429", ASKED),
    "http-401": ("the key is refused", ASKED),
    "timeout": ("no answer comes", ASKED),
    "malformed-json": ("half of the JSON comes", ASKED),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault, one way of asking."""

    fault: Fault
    method: Method
    error: str | None  # class of the error the gate raised
    retryable: bool
    checks: tuple[str, ...]  # those that failed
    message: str

    @property
    def as_it_should_be(self) -> bool:
        return (self.error is None) == (self.fault == "none")


async def outcome(server: FakeTeacherServer, fault: Fault, method: Method) -> Outcome:
    """Return what the gate says to ``fault`` when the teacher is asked by ``method``."""
    server.fault = fault
    settings = TeacherSettings(
        kind=method, url=server.url, model=server.model, timeout_s=0.3 if fault == "timeout" else 20.0
    )
    bounds = GoldenBounds(attempts=2, first_wait_s=0.01)
    async with open_teacher(settings) as teacher:
        try:
            await check_teacher(teacher, bounds)
        except TeacherError as error:
            report = error.report if isinstance(error, GoldenGateError) else None
            failed = tuple(check.name for check in report.failed) if report else ()
            return Outcome(fault, method, type(error).__name__, error.retryable, failed, str(error))
    return Outcome(fault, method, None, False, (), "")


async def all_outcomes() -> list[Outcome]:
    """Run every fault by every way of asking that can have it."""
    with FakeTeacherServer() as server:
        return [
            await outcome(server, fault, method)
            for fault, (_, methods) in FAULTS.items()
            for method in methods
        ]


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table: one row a fault, one column a way of asking."""
    cells = {(one.fault, one.method): one for one in outcomes}
    lines = [f"| fault | {' | '.join(ASKED)} |", "|---|" + "---|" * len(ASKED)]
    for fault, (text, _) in FAULTS.items():
        row = [_cell(cells.get((fault, method))) for method in ASKED]
        lines.append(f"| {text} | {' | '.join(row)} |")
    return "\n".join(lines)


def _cell(found: Outcome | None) -> str:
    if found is None:
        return "cannot have it"
    if found.error is None:
        return "passes" if found.as_it_should_be else "**NOT CAUGHT**"
    how = ", ".join(found.checks) or f"{found.error}{' (retried)' if found.retryable else ''}"
    return how if found.as_it_should_be else f"**REFUSED**: {how}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns 1 when a fault passed or a healthy teacher was refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write every outcome with its message to this file")
    options = parser.parse_args(arguments)
    outcomes = asyncio.run(all_outcomes())
    wrong = [one for one in outcomes if not one.as_it_should_be]
    faults = sum(one.fault != "none" for one in outcomes)
    caught = sum(one.fault != "none" and one.error is not None for one in outcomes)
    sys.stdout.write(f"{table(outcomes)}\n\n{caught} of {faults} faults caught\n")
    if options.json:
        found = {"provenance": provenance(), "outcomes": [asdict(one) for one in outcomes]}
        options.json.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
