"""SIGKILL during indexing, many times: what is lost, what is there twice?

::

    python -m benchmarks.crash --rounds 200 [--seed 1] [--files 40] [--dense fake|shipped] [--json FILE]

A folder of files changes step by step (edits, new files, removals, renames,
duplicates, JSON lines).  Each step is indexed twice: into a reference index
without interruption, and into another one whose ingest process is killed
again and again, at random times, at random named points between its steps,
and in a third of the rounds together with the engine process, until it ends.
Then both must hold the same: points (ids, payloads, vectors) and catalogue
rows.  ``--rounds`` counts kills that hit a living process.

The collection, the catalogue, the readers and BM25 are the real ones.  The
dense encoder is a hash by default: kills hit the moments between steps more
often when encoding takes no time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.index_state import Difference, all_points, catalog_rows, compare_points, compare_rows
from benchmarks.provenance import provenance
from indexing.collection.protocol import StoredPoint
from indexing.encoders.bm25 import Bm25Encoder
from indexing.encoders.pair import ComposedPair
from indexing.encoders.protocols import EncoderPair, Fingerprint
from indexing.ingest import add_paths
from indexing.records import FloatArray
from indexing.session import Index
from indexing.settings import Settings, load_settings

POINTS = (
    "planned",
    "batch-staged",
    "staged",
    "sources-staged",
    "pruned",
    "sources-committed",
    "measured",
    "average-set",
    "embedded",
    "upserted",
    "recorded",
    "points-deleted",
    "rows-deleted",
    "re-weighed",
    "source-renamed",
)
_VOCABULARY = 2000
_DIMENSIONS = 32
_CHILD_LIMIT_S = 120.0


class HashDense:
    """A dense encoder without a model: a unit vector drawn from the text's hash."""

    fingerprint = Fingerprint("hash", "crash", {"dimensions": _DIMENSIONS})
    dimensions = _DIMENSIONS
    scripts: frozenset[str] | None = None

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        rows = np.empty((len(texts), _DIMENSIONS), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            row[:] = np.random.default_rng(seed).standard_normal(_DIMENSIONS)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    encode_queries = encode_documents


def fast_encoders() -> EncoderPair:
    return ComposedPair(HashDense(), Bm25Encoder(), min_coverage=0.5)


class Corpus:
    """A folder that changes: every call of :meth:`change` is one step."""

    def __init__(self, folder: Path, seed: int, files: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)  # noqa: S311
        self._files = files
        self._lengths = (4, 8)
        folder.mkdir(parents=True, exist_ok=True)

    def _sentence(self, words: int) -> str:
        chosen = " ".join(f"word{self._random.randrange(_VOCABULARY)}" for _ in range(words))
        return chosen.capitalize() + "."

    def _text(self, sentences: int) -> str:
        return " ".join(self._sentence(self._random.choice(self._lengths)) for _ in range(sentences))

    def fill(self) -> None:
        for number in range(self._files):
            self._write(f"file{number:03d}.txt")
        self._lines("lines.jsonl")

    def _write(self, name: str) -> None:
        (self._folder / name).write_text(self._text(self._random.randrange(1, 30)))

    def _lines(self, name: str) -> None:
        chosen = self._random.sample(range(60), 30)
        rows = [{"_id": f"{name}-{n}", "title": f"Line {n}", "text": self._text(3)} for n in sorted(chosen)]
        (self._folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def change(self) -> None:
        """Edit, remove, rename, duplicate and add some files."""
        # Short and long sentences by turns, so that BM25's average length drifts.
        self._lengths = (4, 8) if self._lengths == (30, 60) else (30, 60)
        files = sorted(self._folder.glob("*.txt"))
        for path in self._random.sample(files, min(5, len(files))):
            path.write_text(path.read_text() + " " + self._text(2))
        for path in self._random.sample(files, min(3, len(files))):
            path.unlink()
        left = sorted(self._folder.glob("*.txt"))
        moved = self._random.choice(left)
        moved.rename(moved.with_name(f"moved-{self._random.randrange(10**6):06d}.txt"))
        twin = self._random.choice(sorted(self._folder.glob("*.txt")))
        (self._folder / f"a-twin-{self._random.randrange(10**6):06d}.txt").write_bytes(twin.read_bytes())
        for _ in range(max(self._files - len(left), 1)):
            self._write(f"new-{self._random.randrange(10**6):06d}.txt")
        self._lines("lines.jsonl")


def _open(settings: Settings, dense: str, checkpoint: str | None = None, hit: int = 0) -> Index:
    index = Index.open(settings)
    if dense == "fake":
        index.use_encoders(fast_encoders())
    if checkpoint is not None:
        seen = Counter[str]()

        def kill(name: str) -> None:
            seen[name] += 1
            if name == checkpoint and seen[name] == hit:
                os.kill(os.getpid(), signal.SIGKILL)

        index.checkpoint = kill
    return index


def _settings(home: Path, read_workers: int = 0) -> Settings:
    return load_settings(
        home=home,
        collection={"idle_exit_s": 2.0, "optimize_after": 0},
        indexing={"batch_sentences": 64, "read_workers": read_workers},
        encoders={"threads": 1},
    )


def child(home: Path, corpus: Path, dense: str, checkpoint: str | None, hit: int) -> int:
    """One ingest process, to be killed; at random times, it reads in a process of its own."""
    with _open(_settings(home, 0 if checkpoint else 1), dense, checkpoint, hit) as index:
        add_paths(index, [corpus], prune=True)
    return 0


@dataclass(slots=True)
class Tally:
    """What was done to the processes."""

    steps: int = 0
    kills: int = 0
    at_points: Counter[str] = field(default_factory=Counter)
    at_times: int = 0
    engine_kills: int = 0
    differences: list[tuple[int, Difference]] = field(default_factory=list)
    points: int = 0


class Rounds:
    """Steps of the corpus, each indexed with and without kills."""

    def __init__(self, folder: Path, seed: int, files: int, dense: str) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._folder = folder
        self._corpus = Corpus(folder / "corpus", seed, files)
        self._dense = dense
        self.tally = Tally()

    def run(self, kills: int) -> Tally:
        """Go on until ``kills`` processes were killed and the last step has ended."""
        while self.tally.kills < kills:
            if self.tally.steps:
                self._corpus.change()
            else:
                self._corpus.fill()
            self.tally.steps += 1
            with _open(_settings(self._folder / "reference"), self._dense) as index:
                add_paths(index, [self._folder / "corpus"], prune=True)
            self._with_kills(kills)
            difference = self._compare()
            if difference:
                self.tally.differences.append((self.tally.steps, difference))
            outcome = f"DIFFERENT {difference}" if difference else "equal"
            sys.stderr.write(
                f"step {self.tally.steps}: {self.tally.kills} kills, {self.tally.points} points, {outcome}\n"
            )
        return self.tally

    def _with_kills(self, kills: int) -> None:
        left = min(self._random.randrange(2, 7), kills - self.tally.kills)
        while True:
            point = self._random.choice(POINTS) if left > 0 and self._random.random() < 0.6 else None
            hit = self._random.choice((1, 1, 1, 1, 2))
            process = self._start(point, hit)
            try:
                if left > 0 and point is None:
                    process.wait(self._random.uniform(0.3, 3.0))
                else:
                    process.wait(_CHILD_LIMIT_S)
            except subprocess.TimeoutExpired:
                if left <= 0 or point is not None:
                    process.kill()
                    process.wait()
                    raise RuntimeError("an ingest process did not end") from None
                process.kill()
                process.wait()
            if process.returncode == 0 and (left <= 0 or point is None):
                return
            if process.returncode == 0:
                left -= 1  # this step never passes that point; the next start finds nothing to do
                continue
            if process.returncode != -signal.SIGKILL:
                raise RuntimeError(f"the ingest process ended with {process.returncode}")
            left -= 1
            self.tally.kills += 1
            if point is None:
                self.tally.at_times += 1
            else:
                self.tally.at_points[point] += 1
            if self._random.random() < 0.33:
                self.tally.engine_kills += kill_engine(self._folder / "killed")

    def _start(self, point: str | None, hit: int) -> subprocess.Popen[bytes]:
        arguments = [
            sys.executable, "-m", "benchmarks.crash", "--child", str(self._folder / "killed"),
            "--corpus", str(self._folder / "corpus"), "--dense", self._dense, "--hit", str(hit),
        ]  # fmt: skip
        if point is not None:
            arguments += ["--point", point]
        return subprocess.Popen(arguments)

    def _compare(self) -> Difference:
        reference = self._points("reference")
        found = self._points("killed")
        self.tally.points = len(reference)
        difference = compare_points(reference, found)
        difference.rows = compare_rows(
            catalog_rows(self._folder / "reference"), catalog_rows(self._folder / "killed")
        )
        return difference

    def _points(self, name: str) -> list[StoredPoint]:
        with _open(_settings(self._folder / name), self._dense) as index:
            return all_points(index)


def kill_engine(home: Path) -> int:
    """SIGKILL the engine process of this home; returns how many there were."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"indexing.collection.engine" in arguments and any(
            argument.startswith(os.fsencode(home) + b"/") for argument in arguments
        ):
            try:
                os.kill(int(process.name), signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
    return killed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--dense", choices=("fake", "shipped"), default="fake")
    parser.add_argument("--json", type=Path)
    for name in ("--child", "--corpus", "--point"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--hit", type=int, default=1, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child is not None:
        return child(Path(chosen.child), Path(chosen.corpus), chosen.dense, chosen.point, chosen.hit)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="winnow-crash-") as folder:
        tally = Rounds(Path(folder), chosen.seed, chosen.files, chosen.dense).run(chosen.rounds)
    body = {
        "steps": tally.steps,
        "kills": tally.kills,
        "kills at random times": tally.at_times,
        "kills at named points": sum(tally.at_points.values()),
        "named points": dict(sorted(tally.at_points.items())),
        "engine process killed too": tally.engine_kills,
        "points at the end": tally.points,
        "points lost": sum(difference.lost for _, difference in tally.differences),
        "points duplicated": sum(difference.duplicated for _, difference in tally.differences),
        "points surplus": sum(difference.surplus for _, difference in tally.differences),
        "points different": sum(difference.different for _, difference in tally.differences),
        "catalogue differences": [row for _, difference in tally.differences for row in difference.rows],
        "seconds": round(time.monotonic() - started, 1),
        "seed": chosen.seed,
    }
    for name, value in body.items():
        sys.stdout.write(f"{name:<28}{value}\n")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({**provenance(), **body}, indent=2) + "\n")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
