"""All sides of the comparison: built one after another, queried in turns.

A neighbour's load on a shared machine comes and goes within minutes: in turns
it falls on all sides alike, and the ratios stand.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

_TURNS = 10
_OPEN_LIMIT_S = 300.0


class SideFailedError(Exception):
    """A side did not do its part; the message says why."""


class Asked:
    """One side's query process, opened and waiting for its turns."""

    def __init__(self, side: str, corpus: Path, scratch: Path) -> None:
        self.slow = False  # it could not answer all queries of a turn
        self._out = scratch / f"{side}.query.json"
        self._log = (scratch / f"{side}.log").open("w+", encoding="utf-8")
        self._child = subprocess.Popen(
            child_command("query", side, corpus, scratch, self._out),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def wait_open(self) -> None:
        """Wait until it has answered its first query."""
        self._reply(_OPEN_LIMIT_S)

    def ask(self, first: int, last: int, limit_s: float) -> None:
        """Let it answer queries ``first`` to ``last``, as many as fit into the limit."""
        self._send(json.dumps([first, last, limit_s]))
        self.slow |= int(self._reply(4 * limit_s + _OPEN_LIMIT_S)) < last - first

    def result(self, limit_s: float) -> dict[str, object]:
        """End the turns and return what it measured."""
        stdin = self._child.stdin
        if stdin is not None:
            stdin.close()
        try:
            self._child.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise SideFailedError(f"did not end within {limit_s:.0f} s") from error
        if self._child.returncode != 0:
            raise SideFailedError(self._last_words())
        found: dict[str, object] = json.loads(self._out.read_text(encoding="utf-8"))
        return found

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._child.kill()
        self._child.wait()
        self._log.close()

    def _send(self, line: str) -> None:
        if self._child.stdin is None:
            raise SideFailedError("it has no standard input")
        try:
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
        except OSError as error:
            raise SideFailedError(self._last_words()) from error

    def _reply(self, limit_s: float) -> str:
        stdout = self._child.stdout
        if stdout is None or not select.select([stdout], [], [], limit_s)[0]:
            raise SideFailedError(f"no answer within {limit_s:.0f} s")
        line = stdout.readline()
        if not line:
            raise SideFailedError(self._last_words())
        return line.strip()

    def _last_words(self) -> str:
        self._log.seek(0)
        return str(self._log.read().strip().splitlines()[-1:])


def child_command(phase: str, side: str, corpus: Path, scratch: Path, out: Path) -> list[str]:
    places = [str(corpus), str(scratch / f"index-{side}"), str(out)]
    return [sys.executable, "-m", "benchmarks.speed.child", phase, side, *places]


def build_side(side: str, corpus: Path, scratch: Path, limit_s: float) -> dict[str, object]:
    """Index the corpus with one side.

    Raises:
        SideFailedError: it took too long, or ended with an error.
    """
    out = scratch / f"{side}.build.json"
    command = child_command("build", side, corpus, scratch, out)
    try:
        done = subprocess.run(command, timeout=limit_s, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired as error:
        raise SideFailedError(f"build took more than {limit_s:.0f} s") from error
    if done.returncode != 0:
        raise SideFailedError(f"build: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, object] = json.loads(out.read_text(encoding="utf-8"))
    return found


def run_sides(
    sides: Sequence[str],
    corpus: Path,
    scratch: Path,
    queries: int,
    limits: tuple[float, float],
    told: Callable[[str], None],
) -> list[dict[str, object]]:
    """Build all sides, open all, then query them in turns; a side that fails says why.

    Args:
        limits: seconds for one build, and for all queries of one side.
        told: is told what took how long.
    """
    build_limit_s, query_limit_s = limits
    results: dict[str, dict[str, object]] = {side: {"side": side} for side in sides}
    opened: dict[str, Asked] = {}

    def attempt(name: str, side: str, step: Callable[[], None]) -> None:
        started = time.perf_counter()
        try:
            step()
        except SideFailedError as error:
            results[side] = {"side": side, "failed": str(error)}
            if side in opened:
                opened.pop(side).close()
        if name != "query":
            told(f"{side}, {name}: {time.perf_counter() - started:.0f} s")

    def built(side: str) -> None:
        results[side] |= build_side(side, corpus, scratch, build_limit_s)

    def open_side(side: str) -> None:
        opened[side] = Asked(side, corpus, scratch)
        opened[side].wait_open()

    def asked(side: str, turn: int) -> None:
        first, last = queries * turn // _TURNS, queries * (turn + 1) // _TURNS
        opened[side].ask(first, last, query_limit_s / _TURNS)

    def ended(side: str) -> None:
        results[side] |= opened[side].result(20 * query_limit_s + _OPEN_LIMIT_S)
        opened.pop(side).close()

    try:
        for side in sides:
            attempt("index", side, partial(built, side))
        for side in sides:
            if "failed" not in results[side]:
                attempt("open", side, partial(open_side, side))
        for slow in (False, True):
            for turn in range(_TURNS):
                for side in list(opened):
                    # Every side's first turn tells; the slow ones then wait, or the others would idle.
                    if opened[side].slow == slow and not (slow and turn == 0):
                        attempt("query", side, partial(asked, side, turn))
        for side in list(opened):
            attempt("recall and the rest", side, partial(ended, side))
    finally:
        for one in opened.values():
            one.close()
    return list(results.values())
