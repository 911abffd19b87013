"""One phase of one side in a process of its own: ``build``, ``query``, or ``encode``.

``python -m benchmarks.speed.child PHASE SIDE CORPUS INDEX OUT [TIME_LIMIT_S]``.
``encode`` is no side's: it tells what the shipped encoder takes for a query.
A process of its own keeps the sides from sharing memory, caches and threads'
pools, and makes start-up time and memory real.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def _memory_mb(pids: list[int]) -> float:
    """Proportional set size of this process and the given ones, MiB."""
    import os

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


def query(side_name: str, corpus_folder: Path, index: Path, limit_s: float) -> dict[str, object]:
    import numpy as np

    from benchmarks.speed import make_side
    from benchmarks.speed.sides import Corpus

    corpus = Corpus.load(corpus_folder)
    loaded = time.perf_counter()
    side = make_side(side_name)
    side.open(index, corpus)
    side.search(0)
    ready_s = time.perf_counter() - loaded
    numbers = range(len(corpus.queries))
    side.timed(numbers[:20], time.perf_counter() + limit_s / 4)  # warm-up
    deadline = time.perf_counter() + limit_s
    answers = side.timed(numbers, deadline)
    found = [answer.found for answer in answers]
    latencies = [answer.ms for answer in answers]
    p50, p95, p99 = (float(value) for value in np.percentile(latencies, (50, 95, 99)))
    result: dict[str, object] = {
        "queries": len(latencies),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "ready_s": ready_s,
        "memory_mb": _memory_mb(side.processes()),
        "recall_vs_own_exact": _recall(side, found, deadline + limit_s),
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


def _recall(side: object, found: list[list[int]], deadline: float) -> float | None:
    """Share of the ten exact results that the approximate search also gave."""
    shares = []
    for number, approximate in enumerate(found):
        try:
            exact = side.search(number, exact=True)  # type: ignore[attr-defined]
        except NotImplementedError:
            return None
        if exact:
            shares.append(len(set(exact) & set(approximate)) / len(exact))
        if time.perf_counter() > deadline:
            break
    return sum(shares) / len(shares) if shares else None


def main(arguments: list[str]) -> None:
    phase, side, corpus, index, out = arguments[:5]
    if phase == "build":
        result = build(side, Path(corpus), Path(index))
    elif phase == "encode":
        result = encode(Path(corpus))
    else:
        result = query(side, Path(corpus), Path(index), float(arguments[5]))
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
