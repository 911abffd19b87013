"""Parsers in processes of their own: one that hangs or crashes costs its file, not the run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from types import TracebackType

from indexing.catalog.records import NewDocument
from indexing.errors import ReadError
from indexing.ingest.parser import READY, ReadJob, Setup, read_here
from indexing.settings import IndexingSettings

__all__ = ["ReadJob", "ReaderPool"]

_START_TIMEOUT_S = 60.0
# Not ``-m``: the package imports that module itself, which Python would warn about.
_PARSER = "from indexing.ingest.parser import main; main()"


class ReaderPool:
    """Read files in order with up to ``workers`` processes ahead of the caller.

    ``reader`` names a function ``read(path, *, max_bytes)`` as (module, name).
    With ``settings.read_workers`` 0 this process reads, without protection.
    """

    def __init__(self, settings: IndexingSettings, reader: tuple[str, str]) -> None:
        self._setup = Setup(reader, settings, os.getpid(), tuple(sys.path))
        count = min(settings.read_workers, os.cpu_count() or 1)
        self._workers = [_Worker(self._setup) for _ in range(count)]

    def read(self, jobs: Sequence[ReadJob]) -> Iterator[tuple[ReadJob, Iterator[NewDocument]]]:
        """Yield each job with its documents; iterating those may raise ReadError.

        The documents of a job must be taken before the next job is asked for.
        """
        ahead = len(self._workers)
        if not ahead:
            for job in jobs:
                yield job, read_here(job, self._setup)
            return
        for worker, job in zip(self._workers, jobs, strict=False):
            worker.assign(job)
        for number, job in enumerate(jobs):
            worker = self._workers[number % ahead]
            yield job, worker.documents()
            worker.abandon()
            if number + ahead < len(jobs):
                worker.assign(jobs[number + ahead])

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()

    def __enter__(self) -> ReaderPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Worker:
    """The parent's side of one process, started with its first job."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._fresh = True
        self._busy = False

    def assign(self, job: ReadJob) -> None:
        connection = self._connection or self._start()
        self._busy = True
        with contextlib.suppress(OSError):  # a worker that died is noticed when its answer is awaited
            connection.send(job)

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PARSER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, self._setup.search_path))),
            )
        self._connection = connection = Connection(ours.detach())
        self._fresh = True
        with contextlib.suppress(OSError):
            connection.send(self._setup)
        return connection

    def documents(self) -> Iterator[NewDocument]:
        """The documents of the assigned job, as they come.

        Raises:
            ReadError: the reader refused the file, hung or crashed.
        """
        while True:
            value = self._receive()
            if isinstance(value, NewDocument):
                yield value
                continue
            self._busy = False
            if isinstance(value, ReadError):
                raise value
            return

    def _receive(self) -> object:
        limit_s = self._setup.settings.read_timeout_s
        if self._connection is None:
            raise ReadError("the parser process is gone")
        try:
            if not self._connection.poll(limit_s + (_START_TIMEOUT_S if self._fresh else 0.0)):
                self.stop()
                raise ReadError(f"the parser gave no answer within {limit_s:g} s")
            self._fresh = False
            message: object = self._connection.recv()
        except (EOFError, OSError):
            code = self._exit_code()
            self.stop()
            raise ReadError(f"the parser crashed ({_describe(code)})") from None
        return self._receive() if message == READY else message

    def _exit_code(self) -> int | None:
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(5.0)
        return None

    def abandon(self) -> None:
        """Give up a job whose documents were not all taken."""
        if self._busy:
            self.stop()

    def stop(self) -> None:
        self._busy = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
