"""Searches while the encoders change: how many fail, how long they take, how soon the service follows.

::

    python -m benchmarks.migration [--documents 40] [--threads 2] [--dense FOLDER] [--bm25-k1 1.5]
                                   [--json FILE]

A service over topics of Python's language reference is searched without a
pause while another generation is built, switched to, and left again; the table
says for each phase how many searches failed, which generations answered, and
how long it took.  Whether a query is ever encoded by the other generation's
encoder is what ``tests/serving/test_migration_live.py`` decides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks.live_service import LiveService, live_service, topic_documents
from benchmarks.provenance import provenance

_QUESTIONS = (
    "how are exceptions raised",
    "what does a with statement do",
    "order of evaluation of operands",
    "how is a class body executed",
    "which names are reserved",
)
_STEADY_S = 5.0
_LIMIT_S = 1800.0
_VARIABLES = {"WINNOW_RERANK__MODEL": "none"}


@dataclass(frozen=True, slots=True)
class Search:
    """One search: its phase, its milliseconds, the generation that answered; 0: it failed."""

    phase: str
    began: float
    ms: float
    generation: int


class Load:
    """Threads that search until they are stopped."""

    def __init__(self, service: LiveService, threads: int) -> None:
        self.phase = "before"
        self.searches: list[Search] = []
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            for question in _QUESTIONS:
                phase, began = self.phase, time.monotonic()
                try:
                    found = self._service.call("/v1/search", {"query": question})
                    stages = {stage["name"]: stage for stage in found["receipt"]["stages"]}
                    generation = int(stages["retrieve"]["generation"])
                except (urllib.error.URLError, OSError, KeyError, ValueError):
                    generation = 0
                self.searches.append(Search(phase, began, (time.monotonic() - began) * 1000, generation))

    def steady(self, phase: str) -> None:
        self.phase = phase
        time.sleep(_STEADY_S)

    def followed(self, generation: int, since: float) -> float:
        """Seconds from ``since`` to the end of the first search that this generation answered."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for search in self.searches[-200:]:
                if search.generation == generation and search.began + search.ms / 1000 > since:
                    return search.began + search.ms / 1000 - since
            time.sleep(0.01)
        raise RuntimeError(f"generation {generation} never answered")


def run_command(home: Path, *arguments: str) -> float:
    """Run ``python -m ...`` on the home folder; returns when it ended, on the monotonic clock."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    subprocess.run(
        [sys.executable, "-m", *arguments, "--home", str(home)],
        env={**clean, **_VARIABLES},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=_LIMIT_S,
    )
    return time.monotonic()


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the figures of one migration there and back."""
    change = ["--bm25-k1", str(arguments.bm25_k1)]
    if arguments.dense is not None:
        change += ["--dense", arguments.dense]
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        with live_service(home, **_VARIABLES) as service:
            service.index(topic_documents(arguments.documents))
            points = service.call("/v1/collection")["points"]
            with Load(service, arguments.threads) as load:
                load.steady("before")
                load.phase, began = "backfill", time.monotonic()
                backfill_s = run_command(home, "indexing", "migrate", "start", *change) - began
                load.steady("both, generation 1")
                load.phase = "switch"
                switched = _switch(load, home, "switch", 2)
                load.steady("both, generation 2")
                load.phase = "undo"
                undone = _switch(load, home, "undo", 1)
                load.steady("undone")
    return {
        "sentences": points,
        "backfill_s": backfill_s,
        "backfill_sentences_per_s": points / backfill_s,
        "switch_followed_s": switched,
        "undo_followed_s": undone,
        "failed": sum(search.generation == 0 for search in load.searches),
        "searches": len(load.searches),
        "phases": _phases(load.searches),
    }


def _switch(load: Load, home: Path, command: str, number: int) -> float:
    """Seconds from the end of the command, which does not wait, to the first answer; 0: before it ended."""
    options = ("--wait-s", "0", *(("--unchecked",) if command == "switch" else ()))
    ended = run_command(home, "indexing", "migrate", command, *options)
    seen = any(search.generation == number for search in load.searches[-50:] if search.phase == command)
    return 0.0 if seen else load.followed(number, ended)


def _phases(searches: Sequence[Search]) -> dict[str, dict[str, object]]:
    phases: dict[str, dict[str, object]] = {}
    for phase in dict.fromkeys(search.phase for search in searches):
        chosen = [search for search in searches if search.phase == phase]
        took = quantiles([search.ms for search in chosen], n=100)
        phases[phase] = {
            "searches": len(chosen),
            "failed": sum(search.generation == 0 for search in chosen),
            "generations": sorted({search.generation for search in chosen}),
            "p50_ms": took[49],
            "p95_ms": took[94],
            "max_ms": max(search.ms for search in chosen),
        }
    return phases


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.migration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--documents", type=int, default=40, help="topics indexed")
    parser.add_argument("--threads", type=int, default=2, help="searches at once")
    parser.add_argument(
        "--dense", help="folder of another dense encoder; default: the same one, whose vectors are copied"
    )
    parser.add_argument("--bm25-k1", type=float, default=1.5, help="of the new generation")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def main(given: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(given)
    figures = measure(arguments)
    phases = figures["phases"]
    if not isinstance(phases, dict):
        raise TypeError("the figures have no phases")
    out = sys.stdout
    out.write("| phase | searches | failed | answered by | p50 ms | p95 ms | max ms |\n")
    out.write("|---|---|---|---|---|---|---|\n")
    for name, row in phases.items():
        by = ", ".join(map(str, row["generations"]))
        times = " | ".join(f"{row[key]:.0f}" for key in ("p50_ms", "p95_ms", "max_ms"))
        out.write(f"| {name} | {row['searches']} | {row['failed']} | {by} | {times} |\n")
    out.write(
        f"\n{figures['sentences']} sentences, backfill {figures['backfill_s']:.1f} s "
        f"({figures['backfill_sentences_per_s']:.0f} a second, starting and loading included); the service "
        f"answered from the other generation {figures['switch_followed_s']:.2f} s after `switch` ended and "
        f"{figures['undo_followed_s']:.2f} s after `undo`; {figures['failed']} of {figures['searches']} "
        "searches failed\n"
    )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({**provenance(), **figures}, indent=2) + "\n", encoding="utf-8")
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
