"""Ten times what the service can take, slow clients, oversize bodies: what becomes of them.

::

    python -m benchmarks.load [--seconds 30] [--no-rerank] [--json FILE]

Starts a service over a small index on loopback, asks it one question at a
time (unloaded), then from several clients at once (saturation), then offers
ten times that in an open loop while ``/health`` is asked too.  The generator
runs in this process, on the same cores as the service.  Exit code 1 when
something is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.live_service import LiveService, live_service, topic_documents
from benchmarks.load.client import search_request
from benchmarks.load.offered import closed_loop, open_loop, watch_health
from benchmarks.load.oversize import oversize
from benchmarks.load.report import Overload, SlowReport, slow_table, summary, table
from benchmarks.load.slow import slow_clients
from benchmarks.provenance import provenance

_TIMES = 10
_UNLOADED_S = 6.0
_UNLOADED_LEAST = 40
_SATURATION_S = 4.0
_SATURATION_CLIENTS = (2, 4, 8, 16)
_SOCKETS = 400
_SLOW_CLIENTS = 500
_SLOW_PATIENCE_S = 30.0
_TOPICS = 12
_SEED = 5

_QUESTIONS = (
    "how do I open a file", "what is a generator", "value of a yield expression",
    "how are class attributes looked up", "assignment to a slice", "the del statement",
    "finders of the import system", "parameters of a lambda", "context managers and with",
    "rounding of integer division", "comparison of floats", "truth value of objects",
)  # fmt: skip


def _requests(rerank: bool | None) -> Callable[[int], bytes]:
    made = [
        search_request(f"{question} {number}", rerank=rerank)
        for number in range(5)
        for question in _QUESTIONS
    ]
    return lambda number: made[number % len(made)]


def _long_document() -> dict[str, str]:
    """About 1 MB of text that costs little to index: no dense vectors for its script, few sentences."""
    sentence = "石" * 1900 + "。"
    return {"doc_id": "long", "title": "", "text": sentence * 180}


async def measure_overload(service: LiveService, seconds: float, rerank: bool | None) -> Overload:
    """Return what was seen unloaded, at saturation, and at ten times that."""
    port, requests = service.port, _requests(rerank)
    await closed_loop(port, 1, 1.0, requests, at_least=10)  # warm
    unloaded = await closed_loop(port, 1, _UNLOADED_S, requests, at_least=_UNLOADED_LEAST)
    saturation = 0.0
    for clients in _SATURATION_CLIENTS:
        saturation = max(saturation, (await closed_loop(port, clients, _SATURATION_S, requests)).rate)
    memory = [service.resident_mb()]

    async def look_at_memory() -> None:
        await asyncio.sleep(seconds / 2)
        memory.append(service.resident_mb())

    stop = asyncio.Event()
    health = asyncio.create_task(watch_health(port, stop))
    middle = asyncio.create_task(look_at_memory())
    loaded = await open_loop(port, _TIMES * saturation, seconds, _SOCKETS, requests, _SEED)
    stop.set()
    await middle
    memory.append(service.resident_mb())
    again = await closed_loop(port, 1, _UNLOADED_S, requests, at_least=_UNLOADED_LEAST)
    return Overload(
        name="reranked" if rerank is None else "without the reranker",
        unloaded=unloaded,
        saturation=saturation,
        loaded=loaded,
        health=await health,
        memory_mb=tuple(memory),
        again=again,
    )


async def measure_slow(service: LiveService, document: str) -> SlowReport:
    """Return the fate of 500 slow clients and what a normal one saw meanwhile."""
    request = search_request(_QUESTIONS[0], rerank=False)
    fates, answers = await slow_clients(service.port, _SLOW_CLIENTS, _SLOW_PATIENCE_S, document, request)
    return SlowReport(fates, answers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of the open loop")
    parser.add_argument("--no-rerank", action="store_true", help="ask for the first stage only")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    documents = [*topic_documents(_TOPICS), _long_document()]
    with tempfile.TemporaryDirectory() as folder, live_service(Path(folder) / "home") as service:
        service.index(documents)
        rerank = False if options.no_rerank else None
        overload = asyncio.run(measure_overload(service, options.seconds, rerank))
        sys.stdout.write(table(overload) + "\n\n")
        slow = asyncio.run(measure_slow(service, documents[-1]["doc_id"]))
        refusals = asyncio.run(oversize(service.port))
        sys.stdout.write(slow_table(slow, refusals) + "\n")
    if options.json is not None:
        body = {
            "provenance": provenance(),
            "overload": summary(overload),
            "slow": [asdict(one) for one in slow.fates],
            "oversize": [asdict(one) for one in refusals],
        }
        options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    well = overload.as_it_should_be and slow.as_it_should_be and all(one.as_it_should_be for one in refusals)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
