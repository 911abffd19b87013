"""Two vLLM servers by the service's own supervisor: one caches prefixes, one does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from serving.vllm.settings import VllmSettings
from serving.vllm.supervise import make_replicas, supervise

# The same for both, so that they differ in one thing. Compiling would take minutes at each start.
_BOTH = ("--enforce-eager",)
_OFF = ("--no-enable-prefix-caching",)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Cancel the running task on SIGTERM and SIGHUP, so that it stops what it started as after Ctrl-C."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("no task is running")
    numbers = (signal.SIGTERM, signal.SIGHUP)

    def end() -> None:
        # Once: a second signal must not end the stopping.
        if not task.cancelling():
            task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def two_servers(
    model: Path, environment: Path, say: Callable[[str], None], *, ready_timeout_s: float = 1800.0
) -> AsyncIterator[tuple[str, str]]:
    """Yield the addresses of a server that caches and of one that does not; stop both at the end.

    Raises:
        ReplicaError: one does not start; the end of its log is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        stop = asyncio.Event()
        running: list[asyncio.Task[None]] = []
        urls: list[str] = []
        waiting: list[asyncio.Task[bool]] = []
        try:
            for name, extra in (("on", _BOTH), ("off", (*_BOTH, *_OFF))):
                settings = VllmSettings(
                    model=str(model),
                    port=_free_port(),
                    max_model_len=16_384,
                    kv_cache_gb=2.0,
                    ready_timeout_s=ready_timeout_s,
                    environment=environment,
                    state=Path(folder) / name,
                )
                ready = asyncio.Event()
                replicas = make_replicas(settings, os.environ, extra=extra)
                running.append(asyncio.create_task(supervise(replicas, settings, stop, say, ready=ready.set)))
                urls.append(settings.url(0))
                waiting.append(asyncio.create_task(ready.wait()))
            ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(asyncio.gather(*waiting)), *running]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
            yield urls[0], urls[1]
        finally:
            stop.set()
            for wait in waiting:
                wait.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
