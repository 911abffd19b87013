"""One phase of one side in a process of its own: ``build``, ``query``, or ``encode``.

``python -m benchmarks.speed.child PHASE SIDE CORPUS INDEX OUT``; ``query``
reads what to ask from its standard input, so that all sides can take turns.
``encode`` is no side's: it tells what the shipped encoder takes for a query.
A process of its own keeps the sides from sharing memory, caches and threads'
pools, and makes start-up time and memory real.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from benchmarks.speed.sides import Side

_WARM = 10


def _memory_mb(pids: list[int]) -> float:
    """Proportional set size of this process and the given ones, MiB."""
    import psutil

    total = 0
    for pid in [os.getpid(), *pids]:
        total += psutil.Process(pid).memory_full_info().pss
    return total / 2**20


def _disk_bytes(folder: Path) -> int:
    """Bytes really occupied (sparse files count what they hold)."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def build(side_name: str, corpus_folder: Path, index: Path) -> dict[str, object]:
    from benchmarks.speed import make_side
    from benchmarks.speed.sides import Corpus

    corpus = Corpus.load(corpus_folder)
    side = make_side(side_name)
    index.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    side.build(index, corpus)
    seconds = time.perf_counter() - started
    return {
        "index_s": seconds,
        "sentences_per_s": len(corpus.sentences) / seconds,
        "disk_bytes_per_raw_byte": _disk_bytes(index) / corpus.raw_bytes,
    }


def query(
    side_name: str, corpus_folder: Path, index: Path, requests: TextIO, replies: TextIO
) -> dict[str, object]:
    """Open the side, answer slices of the queries as they are asked for, then measure the rest.

    A request is a line of JSON, ``[first, last, limit_s]``; the reply is how
    many queries of it were answered within the limit.  The end of the requests
    ends the slices.
    """
    import numpy as np

    from benchmarks.speed import make_side
    from benchmarks.speed.sides import Corpus, Timed

    corpus = Corpus.load(corpus_folder)
    loaded = time.perf_counter()
    side = make_side(side_name)
    side.open(index, corpus)
    side.search(0)
    ready_s = time.perf_counter() - loaded
    numbers = list(range(len(corpus.queries)))
    answers: dict[int, Timed] = {}
    longest_s = 1.0
    print("ready", file=replies, flush=True)
    for line in requests:
        first, last, limit_s = json.loads(line)
        longest_s = max(longest_s, limit_s)
        # Queries of the slice before, so that an idle side is awake; a slow one gets one.
        side.timed(
            [numbers[first - place] for place in range(_WARM, 0, -1)], time.perf_counter() + limit_s / 4
        )
        asked = numbers[first:last]
        answered = side.timed(asked, time.perf_counter() + limit_s)
        answers |= dict(zip(asked, answered, strict=False))
        print(len(answered), file=replies, flush=True)
    latencies = [answer.ms for answer in answers.values()]
    p50, p95, p99 = (float(value) for value in np.percentile(latencies, (50, 95, 99)))
    memory = _memory_mb(side.processes())
    found = {number: answer.found for number, answer in answers.items()}
    result: dict[str, object] = {
        "queries": len(latencies),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "ready_s": ready_s,
        "memory_mb": memory,
        "recall_vs_own_exact": _recall(side, found, time.perf_counter() + 8 * longest_s),
        "latencies_ms": latencies,
    }
    payload = side.payload_bytes()
    result["payload_bytes_per_raw_byte"] = None if payload is None else payload / corpus.raw_bytes
    side.close()
    return result


def encode(corpus_folder: Path) -> dict[str, object]:
    """The shipped encoder's time for one query, milliseconds."""
    import numpy as np

    from benchmarks.embed import open_encoder
    from benchmarks.speed.sides import Corpus
    from indexing.settings import load_settings

    queries = Corpus.load(corpus_folder).queries
    chosen = load_settings().encoders
    dense = open_encoder(chosen.dense, chosen.threads)
    latencies = []
    for number, query in enumerate(queries[:20] + queries):
        before = time.perf_counter()
        dense.encode_queries([query])
        if number >= 20:  # warm
            latencies.append(1000 * (time.perf_counter() - before))
    return {"encoder_p50_ms": float(np.median(latencies))}


def _recall(side: Side, found: dict[int, list[int]], deadline: float) -> float | None:
    """Share of the ten exact results that the approximate search also gave."""
    shares = []
    for number, approximate in found.items():
        try:
            exact = side.search(number, exact=True)
        except NotImplementedError:
            return None
        if exact:
            shares.append(len(set(exact) & set(approximate)) / len(exact))
        if time.perf_counter() > deadline:
            break
    return sum(shares) / len(shares) if shares else None


def main(arguments: list[str]) -> None:
    phase, side, corpus, index, out = arguments
    if phase == "build":
        result = build(side, Path(corpus), Path(index))
    elif phase == "encode":
        result = encode(Path(corpus))
    else:
        # What a side prints of its own must not look like a reply.
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
            os.dup2(2, 1)
            result = query(side, Path(corpus), Path(index), sys.stdin, replies)
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
