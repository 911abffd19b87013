"""Parsers in processes of their own: one that hangs or crashes costs its file, not the run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from indexing.catalog.records import NewDocument
from indexing.closing import Closing
from indexing.errors import ParserCrashError, ReadError, ReadLimitError
from indexing.parsing.confine import environment
from indexing.parsing.frames import Frames, document_from_wire, error_from_wire
from indexing.parsing.worker import DOCUMENT, END, FAILED, READY, ReadJob, Setup, read_here
from indexing.settings import IndexingSettings

__all__ = ["ReadJob", "ReaderPool"]

_START_TIMEOUT_S = 60.0
# The sentences of a short JSON line say more than the line: ids, hashes, offsets.
_MAX_UNFOLDING = 64
_FREE_BYTES = 64_000_000
# Not ``-m``: the package imports that module itself, which Python would warn about.
_PARSER = "from indexing.parsing.worker import main; main()"


class ReaderPool(Closing):
    """Read files in order with up to ``workers`` processes ahead of the caller.

    ``reader`` names a function ``read(path, *, max_bytes)`` as (module, name).
    With ``settings.read_workers`` 0 this process reads, without protection.
    To be used by the thread that made it: the system ends a parser process
    with the thread that started it.
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


class _Worker:
    """The parent's side of one process, started with its first job.

    A process is replaced after a crash, a hang or a limit, and after
    ``parser_files`` files: what one file left behind must not grow for ever.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._frames: Frames | None = None
        self._fresh = True
        self._busy = False
        self._files = 0
        self._limit_s = self._left_s = 0.0
        self._bytes_left = 0

    def assign(self, job: ReadJob) -> None:
        if self._files >= self._setup.settings.parser_files:
            self.stop()
        frames = self._frames or self._start()
        self._busy = True
        self._files += 1
        self._limit_s = self._left_s = self._setup.settings.read_timeout_s + self._setup.more_s(job)
        self._bytes_left = _FREE_BYTES + _MAX_UNFOLDING * job.content_bytes(self._setup.max_bytes)
        with contextlib.suppress(OSError):  # a worker that died is noticed when its answer is awaited
            frames.send(job.to_wire())

    def _start(self) -> Frames:
        ours, theirs = socket.socketpair()
        max_frame = self._setup.max_frame
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-B", "-c", _PARSER, str(theirs.fileno()), str(max_frame)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment(self._setup.search_path),
            )
        self._frames = frames = Frames(ours, max_frame)
        self._fresh, self._files = True, 0
        with contextlib.suppress(OSError):
            frames.send(self._setup.to_wire())
        return frames

    def documents(self) -> Iterator[NewDocument]:
        """The documents of the assigned job, as they come.

        Raises:
            ReadError: the reader refused the file.
            ReadLimitError: it took more time, memory or room than one file may.
            ParserCrashError: it crashed its parser.
        """
        try:
            while True:
                kind, *values = self._message()
                if kind == DOCUMENT and len(values) == 1:
                    yield document_from_wire(values[0])
                elif kind == FAILED and len(values) == 3:
                    self._busy = bool(values[2])
                    raise error_from_wire(values[0], values[1])
                elif kind == END:
                    self._busy = False
                    return
                else:
                    raise ParserCrashError("the parser sent something that is no message")
        except ReadError:
            if self._busy:  # it did not end its file in order
                self.stop()
            raise

    def _message(self) -> tuple[object, ...]:
        if self._frames is None:
            raise ParserCrashError("the parser process is gone")
        if self._fresh:
            self._await_start(self._frames)
        began = time.monotonic()
        try:
            body, size = self._frames.receive(max(self._left_s, 0.001))
        except TimeoutError:
            raise ReadLimitError(f"the parser gave no answer within {self._limit_s:g} s") from None
        except (EOFError, OSError):
            raise self._died() from None
        self._left_s -= time.monotonic() - began
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise ReadLimitError("the parser sent far more than the file can hold")
        if not isinstance(body, tuple) or not body:
            raise ParserCrashError("the parser sent something that is no message")
        return body

    def _await_start(self, frames: Frames) -> None:
        """Wait for a process that was just started; its file's clock begins afterwards."""
        try:
            ready, _ = frames.receive(_START_TIMEOUT_S)
        except TimeoutError:
            raise ParserCrashError("the parser process did not start") from None
        except (EOFError, OSError):
            code = _describe(self._exit_code())
            raise ParserCrashError(
                f"the parser process did not start ({code}); indexing.parser_memory_mb may be too small"
            ) from None
        if ready != (READY,):
            raise ParserCrashError("the parser process did not start")
        self._fresh = False

    def _died(self) -> ReadError:
        code = self._exit_code()
        if code == -signal.SIGXCPU:
            limit_s = self._setup.settings.parser_cpu_s + self._limit_s - self._setup.settings.read_timeout_s
            return ReadLimitError(f"reading it takes more than {limit_s:g} s of processor time")
        return ParserCrashError(f"the parser crashed ({_describe(code)})")

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
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._files = 0


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
