"""The ingest process: started when jobs wait, started again when it dies.

Indexing runs in a process of its own (``python -m indexing run-jobs``): it
keeps the encoder busy for minutes, and a crash in a document parser must not
take the service along.  Job state lives in the catalogue, so a job survives
the death of either process and goes on where it stood.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from serving.metrics import Metrics

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_LAST_LINES = 5


def ingest_command(home: Path) -> list[str]:
    """Return the command that works off all queued jobs and ends."""
    return [sys.executable, "-m", "indexing", "run-jobs", "--home", str(home)]


class JobRunner:
    """Keep one ingest process running while there are unfinished jobs.

    Args:
        command: what to start; exit code 0 means that it saw every job.
        unfinished: whether a job is queued, or was interrupted.
        poll_s: how often to look for jobs that another process created.
        first_pause_s: wait before the second start in a row; doubles up to a minute.
    """

    def __init__(
        self,
        command: Sequence[str],
        unfinished: Callable[[], Awaitable[bool]],
        metrics: Metrics,
        *,
        poll_s: float = 5.0,
        first_pause_s: float = _FIRST_PAUSE_S,
        stop_grace_s: float = 5.0,
    ) -> None:
        self._command = list(command)
        self._unfinished = unfinished
        self._metrics = metrics
        self._poll_s = poll_s
        self._first_pause_s = first_pause_s
        self._stop_grace_s = stop_grace_s
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether an ingest process is alive now."""
        return self._process is not None and self._process.returncode is None

    def start(self) -> None:
        """Begin to look after jobs, unfinished ones of an earlier run included."""
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="winnow-jobs")

    def wake(self) -> None:
        """Say that a job was just created."""
        self._wake.set()

    async def close(self) -> None:
        """Stop the ingest process; its job goes on at the next start of the service."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._stop_process()

    async def _run(self) -> None:
        pause_s = 0.0
        while True:
            await self._wait_for_work(pause_s)
            try:
                if not await self._unfinished():
                    pause_s = 0.0
                    continue
                code = await self._run_process()
                left = await self._unfinished()
            except Exception:
                # This task is the only one that restarts ingest: it has to outlive
                # a full disk, a locked catalogue, a fork that fails.
                logger.exception("ingest_not_started")
                pause_s = self._longer(pause_s)
                continue
            if not left or (code == 0 and self._wake.is_set()):
                pause_s = 0.0
                continue
            self._metrics.ingest_restarts.inc()
            pause_s = self._longer(pause_s)

    def _longer(self, pause_s: float) -> float:
        return min(max(self._first_pause_s, pause_s * 2), _LONGEST_PAUSE_S)

    async def _wait_for_work(self, pause_s: float) -> None:
        """Wait for a wake-up or the poll; after a failure, for the whole pause."""
        if pause_s:
            await asyncio.sleep(pause_s)
            return
        try:
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _run_process(self) -> int:
        """Run the ingest process to its end and return its exit code."""
        logger.info("ingest_start")
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # Its own group: Ctrl-C in a terminal reaches the service, which stops it in order.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            last_lines = await _forward(self._process)
            code = await self._process.wait()
        finally:
            await self._stop_process()
        if code == 0:
            logger.info("ingest_end code=0")
        else:
            logger.error("ingest_died code=%d last=%r", code, " | ".join(last_lines))
        return code

    async def _stop_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._stop_grace_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _forward(process: asyncio.subprocess.Process) -> list[str]:
    """Log the process's stderr line by line and return its last lines."""
    last: list[str] = []
    if process.stderr is None:
        return last
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:
            # A line longer than the reader's buffer: skip what was buffered of it.
            continue
        if not line:
            return last
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            logger.info("ingest %s", text)
            last = [*last, text][-_LAST_LINES:]
