"""Progress of a labelling run on stderr: pairs, rate, cost and time left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_EVERY_S = 30.0


class TerminalProgress:
    """A bar on a terminal; elsewhere a line every half minute, as a log file wants it."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._total = self._known = self._done = self._lost = 0
        self._cost = 0.0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> TerminalProgress:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def started(self, total: int, known: int) -> None:
        self._total, self._known = total, known
        self._began = self._said = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("labels", total=total, completed=known, cost="", failed="")

    def answered(self, pairs: int, cost: float) -> None:
        self._done += pairs
        self._cost = cost
        self._show()

    def failed(self, pairs: int, query_id: str, reason: str) -> None:
        self._lost += pairs
        self._show()

    def line(self) -> str:
        """Return the state as one line."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = self._done / seconds
        left = self._total - self._known - self._done - self._lost
        parts = [f"labels {self._known + self._done}/{self._total}", f"{rate:.1f} pairs/s"]
        if self._cost:
            parts.append(f"cost {self._cost:.4g}")
        if self._lost:
            parts.append(f"{self._lost} failed")
        parts.append(f"{_clock(left / rate) if rate else '?'} left")
        return ", ".join(parts)

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=self._known + self._done + self._lost,
                cost=f"cost {self._cost:.4g}" if self._cost else "",
                failed=f"{self._lost} failed" if self._lost else "",
            )
        elif time.monotonic() - self._said >= _EVERY_S:
            self._said = time.monotonic()
            sys.stderr.write(self.line() + "\n")
            sys.stderr.flush()


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(text_format="", show_speed=True),
        TextColumn("{task.fields[cost]}"),
        TextColumn("{task.fields[failed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
