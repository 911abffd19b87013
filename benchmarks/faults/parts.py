"""The parts that are made to fail, each behind a whole service."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.engine_process import send_signal
from benchmarks.faults.asking import Outcome, ask
from benchmarks.faults.proxy import FaultProxy, fault_proxy
from benchmarks.faults.rerankers import FaultyReranker
from benchmarks.generation_faults import DOCUMENTS, running
from indexing.ingest import TextItem, add_texts
from indexing.records import Extraction
from indexing.session import Index
from indexing.settings import Settings, load_settings
from serving.app import create_app
from serving.state import open_service

COLLECTION_S = 2.0  # collection.timeout_s
ENGINE_S = 5.0  # the same for the embedded home: it must be enough to start the engine again
RERANK_S = 1.0  # rerank.timeout_s
DEADLINE_S = 6.0  # serving.deadline_s
_CLIENT_S = 60.0


def _settings(home: Path, **sections: object) -> Settings:
    return load_settings(
        home=home,
        **{"rerank": {"model": "none"}, "serving": {"deadline_s": DEADLINE_S}, **sections},
    )


def _fill(settings: Settings) -> None:
    with Index.open(settings) as index:
        items = [
            TextItem(
                f"text:{one['doc_id']}", Extraction(text=one["text"], doc_id=one["doc_id"]), "text/plain"
            )
            for one in DOCUMENTS
        ]
        add_texts(index, items)


@contextlib.asynccontextmanager
async def _asking(
    settings: Settings, reranker: FaultyReranker | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a service with these settings."""
    service = await open_service(settings, load_reranker=None if reranker is None else reranker.load)
    try:
        async with (
            running(create_app(settings, service)) as address,
            httpx.AsyncClient(base_url=address, timeout=_CLIENT_S) as client,
        ):
            await client.post("/v1/search", json={"query": "warm"})
            yield client
    finally:
        await service.close()


async def reranker_faults() -> list[Outcome]:
    """Run the reranker's faults: the answer comes in fused order and says so."""
    outcomes = []
    reranker = FaultyReranker()
    with tempfile.TemporaryDirectory() as folder:
        rerank = {"model": folder, "timeout_s": RERANK_S}
        settings = _settings(Path(folder) / "home", rerank=rerank)
        await asyncio.to_thread(_fill, settings)
        async with _asking(settings, reranker) as client:
            for fault, limit_s in (
                ("", 0.0),
                ("raises", 0.0),
                ("nan", 0.0),
                ("too few", 0.0),
                ("nothing", 0.0),
                ("hangs", RERANK_S),
                ("still hangs", RERANK_S),
            ):
                reranker.fault = fault.removeprefix("still ")
                expected = "degraded" if fault else "answer"
                outcomes.append(
                    await ask(client, "reranker", fault or "none", limit_s=limit_s, expected=expected)
                )
            reranker.fault = ""
            reranker.released.set()
            outcomes.append(await ask(client, "reranker", "none again", limit_s=0.0, expected="answer"))
    return outcomes


async def engine_faults() -> list[Outcome]:
    """Stop and kill the engine process of the embedded home."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        # Its engine process stays for the service, which has less patience.
        await asyncio.to_thread(_fill, _settings(home, collection={"idle_exit_s": 30.0}))
        settings = _settings(
            home,
            collection={"timeout_s": ENGINE_S, "idle_exit_s": 2.0},
            serving={"deadline_s": 2 * DEADLINE_S},
        )
        async with _asking(settings) as client:

            async def row(
                fault: str, expected: str, limit_s: float, number: signal.Signals | None = None
            ) -> None:
                outcomes.append(
                    await ask(
                        client,
                        "engine process",
                        fault,
                        limit_s=limit_s,
                        expected=expected,
                        inject=None if number is None else partial(send_signal, settings, number),
                    )
                )

            await row("none", "answer", 0.0)
            await row("stopped (SIGSTOP)", "refused", ENGINE_S, signal.SIGSTOP)
            await row("still stopped", "refused", ENGINE_S)
            send_signal(settings, signal.SIGCONT)
            await row("goes on (SIGCONT)", "answer", 0.0)
            await row("killed (SIGKILL)", "answer", ENGINE_S, signal.SIGKILL)
    return outcomes


# Fault of the proxy, its delay, what the client should see, and within which time.
_WIRE = (
    ("pass", 0.0, "answer", 0.0),
    ("refuse", 0.0, "refused", 0.0),
    ("drop", 0.0, "refused", 0.0),
    ("silent", 0.0, "refused", COLLECTION_S),
    ("late", 0.5, "answer", 0.5),
    ("late", 2 * COLLECTION_S, "refused", COLLECTION_S),
    ("garble", 0.0, "refused", 0.0),
    ("garble-body", 0.0, "refused", 0.0),
    ("cut", 0.0, "refused", COLLECTION_S),
    ("drip", 0.0, "refused", DEADLINE_S),
    ("pass", 0.0, "answer", 0.0),
)


async def qdrant_faults(url: str | None) -> list[Outcome]:
    """Run the faults of the wire to a Qdrant server: a stand-in for it where ``url`` is None."""
    outcomes = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        address = url or await asyncio.to_thread(stack.enter_context, _stand_in())
        async with fault_proxy(urlsplit(address).port or 6333) as proxy:
            server = {
                "home": "server",
                "url": f"http://127.0.0.1:{proxy.port}",
                "prefer_grpc": False,
                "timeout_s": COLLECTION_S,
            }
            settings = _settings(Path(folder) / "home", collection=server)
            await asyncio.to_thread(_fill, settings)
            async with _asking(settings) as client:
                for mode, delay_s, expected, limit_s in _WIRE:
                    outcomes.append(await _wire_row(client, proxy, mode, delay_s, expected, limit_s))
    return outcomes


async def _wire_row(
    client: httpx.AsyncClient, proxy: FaultProxy, mode: str, delay_s: float, expected: str, limit_s: float
) -> Outcome:
    await proxy.set(mode, delay_s)
    name = {"pass": "none", "late": f"answers {delay_s:g} s late"}.get(mode, mode)
    return await ask(client, "Qdrant server", name, limit_s=limit_s, expected=expected)


@contextlib.contextmanager
def _stand_in() -> Iterator[str]:
    """Run the tests' stand-in for a Qdrant server in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.qdrant_server"], stdout=subprocess.PIPE, text=True, cwd=root
    )
    try:
        line = "" if process.stdout is None else process.stdout.readline().strip()
        if not line.startswith("http"):
            raise RuntimeError("the stand-in for Qdrant did not start; name a server with --qdrant")
        yield line
    finally:
        process.kill()
        process.wait()
