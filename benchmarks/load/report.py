"""The load's tables, and what each row must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.load.client import Answer
from benchmarks.load.offered import Tally, quantile
from benchmarks.load.oversize import Refusal
from benchmarks.load.slow import KINDS, SlowClient

MOST_SLOWER = 2.0
HEALTH_S = 0.1
CLOSED_S = 15.0
MOST_GROWTH = 1.1
_REFUSED = (429, 503)


@dataclass(frozen=True, slots=True)
class Overload:
    """One run at ten times saturation, and the same service without load before and after."""

    name: str
    unloaded: Tally
    saturation: float
    loaded: Tally
    health: Tally
    memory_mb: tuple[float, ...]
    again: Tally

    @property
    def refused(self) -> list[Answer]:
        return [one for one in self.loaded.answers if one.status in _REFUSED]

    @property
    def others(self) -> dict[int, int]:
        """Answers that are neither given nor refused, by status; 0: the connection broke."""
        return {
            status: count
            for status, count in self.loaded.statuses.items()
            if status != 200 and status not in _REFUSED
        }

    @property
    def degraded(self) -> int:
        return sum(one.degraded for one in self.loaded.answers)

    @property
    def degraded_unloaded(self) -> int:
        return sum(one.degraded for one in (*self.unloaded.answers, *self.again.answers))

    @property
    def slower(self) -> float:
        """Accepted p95 over that of the unloaded service (before and after together)."""
        without = sorted([*self.unloaded.accepted, *self.again.accepted])
        return self.loaded.quantile(0.95) / quantile(without, 0.95)

    @property
    def growth(self) -> float:
        return self.memory_mb[-1] / self.memory_mb[1]

    def checks(self) -> dict[str, bool]:
        """Return each promise with whether it was kept."""
        return {
            "retry-after": bool(self.refused) and all(one.retry_after for one in self.refused),
            "nothing else": not self.others,
            "p95": self.slower <= MOST_SLOWER,
            "health": set(self.health.statuses) == {200} and self.health.quantile(0.99) <= HEALTH_S,
            "memory": self.growth <= MOST_GROWTH,
        }

    @property
    def as_it_should_be(self) -> bool:
        return all(self.checks().values())


@dataclass(frozen=True, slots=True)
class SlowReport:
    """Slow clients, and the answers a normal one got meanwhile."""

    fates: list[SlowClient]
    answers: list[Answer]

    @property
    def as_it_should_be(self) -> bool:
        closed = all(one.closed_s is not None and one.closed_s <= CLOSED_S for one in self.fates)
        return closed and all(one.status == 200 for one in self.answers)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def table(run: Overload) -> str:
    """Return the overload's rows."""
    kept = run.checks()
    offered = len(run.loaded.answers) + run.loaded.unsent
    refused = len(run.refused)
    told = sum(one.retry_after for one in run.refused)
    without = sorted([*run.unloaded.accepted, *run.again.accepted])
    seconds = run.loaded.seconds
    rows = [
        (
            "unloaded, before and after",
            f"p50 {_ms(quantile(without, 0.5))}, p95 {_ms(quantile(without, 0.95))}",
        ),
        ("saturation", f"{run.saturation:.1f} answers/s"),
        ("offered", f"{offered / seconds:.0f}/s for {seconds:.0f} s: {offered}"),
        ("of these not sent, no socket free", str(run.loaded.unsent)),
        ("accepted (200)", f"{len(run.loaded.accepted)}, {run.loaded.rate:.1f}/s"),
        ("of these in fused order, marked degraded", f"{run.degraded}; unloaded {run.degraded_unloaded}"),
        ("refused (429, 503)", f"{refused}, {told} with Retry-After{_mark(kept['retry-after'])}"),
        ("any other ending", f"{run.others or 'none'}{_mark(kept['nothing else'])}"),
        ("accepted p50, p95", f"{_ms(run.loaded.quantile(0.5))}, {_ms(run.loaded.quantile(0.95))}"),
        ("accepted p95 over unloaded p95", f"{run.slower:.2f} (at most {MOST_SLOWER:g}){_mark(kept['p95'])}"),
        (
            "`/health` p50, p99 meanwhile",
            f"{_ms(run.health.quantile(0.5))}, {_ms(run.health.quantile(0.99))} (at most {_ms(HEALTH_S)})"
            + _mark(kept["health"]),
        ),
        (
            "resident memory at start, middle, end",
            ", ".join(f"{one:.0f}" for one in run.memory_mb) + f" MB{_mark(kept['memory'])}",
        ),
    ]
    lines = [f"| ten times saturation, {run.name} | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)])


def _mark(kept: bool) -> str:
    return "" if kept else " **NOT AS IT SHOULD BE**"


def slow_table(run: SlowReport, refusals: Sequence[Refusal]) -> str:
    """Return the rows of the slow clients and of the oversize bodies."""
    lines = ["| slow clients | how many | closed after, s (at most 15) |", "|---|---|---|"]
    for kind in KINDS:
        fates = [one.closed_s for one in run.fates if one.kind == kind]
        closed = sorted(one for one in fates if one is not None)
        late = len(fates) - sum(one <= CLOSED_S for one in closed)
        span = f"{closed[0]:.1f} to {closed[-1]:.1f}" if closed else "never"
        lines.append(f"| {kind} | {len(fates)} | {span}{f' **{late} LATE OR NEVER**' if late else ''} |")
    seconds = sorted(one.seconds for one in run.answers if one.status == 200)
    lines.append(
        f"| searches of a normal client beside them | {len(run.answers)}, {len(seconds)} answered "
        f"| each within {seconds[-1] if seconds else float('nan'):.2f} |"
    )
    lines += ["", "| body | answer | sent of it | s |", "|---|---|---|---|"]
    for one in refusals:
        lines.append(
            f"| {one.name} | {one.status or 'connection'} {one.kind}{_mark(one.as_it_should_be)} "
            f"| {one.sent_bytes / 1e6:.2f} MB | {one.seconds:.2f} |"
        )
    return "\n".join(lines)


def summary(run: Overload) -> dict[str, object]:
    """Return the numbers of the table as data."""
    return {
        "name": run.name,
        "unloaded_p95_s": [run.unloaded.quantile(0.95), run.again.quantile(0.95)],
        "saturation_per_s": run.saturation,
        "offered": len(run.loaded.answers) + run.loaded.unsent,
        "unsent": run.loaded.unsent,
        "statuses": {str(status): count for status, count in sorted(run.loaded.statuses.items())},
        "degraded": run.degraded,
        "accepted_p50_s": run.loaded.quantile(0.5),
        "accepted_p95_s": run.loaded.quantile(0.95),
        "slower": run.slower,
        "health_p99_s": run.health.quantile(0.99),
        "memory_mb": run.memory_mb,
        "checks": run.checks(),
    }
