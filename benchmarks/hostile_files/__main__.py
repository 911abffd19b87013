"""What becomes of every hostile file in a running service.

::

    python -m benchmarks.hostile_files [--only NAME...] [--json FILE] [--write FOLDER]

Starts a service, uploads the corpus in batches, asks ``/health`` twenty times a
second meanwhile, and compares what each job says of each file with the one
outcome that is right for it.  Afterwards an honest file is uploaded and found.
Exit code 1 when an outcome is wrong, ``/health`` failed once, a file was
written or run, or a text holds what an attack tried to bring in.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.hostile_files.corpus import corpus
from benchmarks.hostile_files.record import CANARIES, CLEAN, SECRET, HostileFile
from benchmarks.hostile_files.service import Pulse, leaked, outcomes, service
from benchmarks.provenance import provenance

_KINDS = (CLEAN, "damaged-file", "empty-file", "encrypted-file", "read-limit", "parser-crash", "read")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", help="parts of file names")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--write", type=Path, help="write the corpus into this folder and do nothing else")
    parser.add_argument("--patience-s", type=float, default=900.0, help="longest wait for one batch")
    given = parser.parse_args(arguments)
    files = [one for one in corpus() if not given.only or any(part in one.name for part in given.only)]
    if given.write is not None:
        given.write.mkdir(parents=True, exist_ok=True)
        for one in files:
            one.write(given.write)
        return 0
    result = run(files, given.patience_s)
    if given.json is not None:
        given.json.write_text(json.dumps(result | provenance(), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(report(files, result))
    return 1 if result["wrong"] or result["health"]["failures"] or result["harm"] else 0


def run(files: Sequence[HostileFile], patience_s: float) -> dict[str, Any]:
    """Return the outcome of each file, the pulse meanwhile, and what harm was found afterwards."""
    before = {path for path in CANARIES if path.exists()}
    if before:
        raise FileExistsError(f"remove {', '.join(map(str, before))} first")
    with tempfile.TemporaryDirectory() as folder, service(Path(folder) / "home") as client:
        began = time.perf_counter()
        with Pulse(str(client.base_url)) as pulse:
            found = outcomes(client, files, patience_s)
        seconds = time.perf_counter() - began
        harm = [f"written: {path}" for path in CANARIES if path.exists()]
        harm += [f"leaked: {doc_id}" for doc_id in leaked(client, SECRET)]
        if not _still_works(client, patience_s):
            harm.append("an honest file was not found afterwards")
    latencies = sorted(pulse.latencies_ms)
    return {
        "files": len(files),
        "outcomes": found,
        "wrong": {one.name: found[one.name] for one in files if found[one.name] != one.expect},
        "harm": harm,
        "seconds": round(seconds, 1),
        "health": {
            "asked": len(latencies),
            "failures": pulse.failures,
            "p50_ms": round(latencies[len(latencies) // 2], 1),
            "p99_ms": round(latencies[int(len(latencies) * 0.99)], 1),
            "max_ms": round(latencies[-1], 1),
        },
    }


def _still_works(client: httpx.Client, patience_s: float) -> bool:
    honest = HostileFile("honest.txt", "", CLEAN, lambda: b"Pelicans live in the delta of the Danube.")
    outcomes(client, [honest], patience_s)
    answer = client.post("/v1/search", json={"query": "where do pelicans live", "mode": "sparse"})
    return any(result["source"] == "upload:honest.txt" for result in answer.json()["results"])


def report(files: Sequence[HostileFile], result: Mapping[str, Any]) -> str:
    """The table in Markdown: formats by outcomes, then what was wrong."""
    rows = {one.format: Counter[str]() for one in files}
    for one in files:
        rows[one.format][result["outcomes"][one.name]] += 1
        rows[one.format]["wrong"] += one.name in result["wrong"]
    lines = [f"| format | files | {' | '.join(_KINDS)} | wrong |", "|---" * (len(_KINDS) + 3) + "|"]
    for name, counts in [*sorted(rows.items()), ("all", sum(rows.values(), Counter[str]()))]:
        cells = [sum(counts[kind] for kind in _KINDS), *(counts[kind] or "" for kind in _KINDS)]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} | {counts['wrong']} |")
    health = result["health"]
    lines += [
        "",
        f"{result['files']} files in {result['seconds']} s. /health asked {health['asked']} times, "
        f"{len(health['failures'])} failures, p50 {health['p50_ms']} ms, p99 {health['p99_ms']} ms, "
        f"most {health['max_ms']} ms.",
    ]
    expected = {one.name: one.expect for one in files}
    lines += [f"wrong: {name}: {kind}, expected {expected[name]}" for name, kind in result["wrong"].items()]
    lines += [f"harm: {one}" for one in result["harm"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
