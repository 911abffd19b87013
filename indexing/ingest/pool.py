"""Parsers in processes of their own: one that hangs or crashes costs its file, not the run."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from indexing.catalog.records import NewDocument
from indexing.errors import ReadError, WinnowError
from indexing.records import Extraction
from indexing.settings import IndexingSettings

ReadFile = Callable[..., Iterator[Extraction]]

_PARENT_POLL_S = 1.0
_START_TIMEOUT_S = 60.0
_READY = "ready"
_END = "end"


@dataclass(frozen=True, slots=True)
class ReadJob:
    """One file to read; ``doc_id`` is for documents that bring none."""

    uri: str
    path: Path
    sha256: str
    size: int
    doc_id: str


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a worker process is told once."""

    reader: tuple[str, str]
    settings: IndexingSettings
    parent: int


class ReaderPool:
    """Read files in order with up to ``workers`` processes ahead of the caller.

    ``reader`` names a function ``read(path, *, max_bytes)`` as (module, name).
    With ``settings.read_workers`` 0 this process reads, without protection.
    """

    def __init__(self, settings: IndexingSettings, reader: tuple[str, str]) -> None:
        self._setup = _Setup(reader, settings, os.getpid())
        count = min(settings.read_workers, os.cpu_count() or 1)
        self._workers = [_Worker(self._setup) for _ in range(count)]

    def read(self, jobs: Sequence[ReadJob]) -> Iterator[tuple[ReadJob, Iterator[NewDocument]]]:
        """Yield each job with its documents; iterating those may raise ReadError.

        The documents of a job must be taken before the next job is asked for.
        """
        ahead = len(self._workers)
        if not ahead:
            for job in jobs:
                yield job, _read_here(job, self._setup)
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

    def __init__(self, setup: _Setup) -> None:
        self._setup = setup
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._fresh = True
        self._busy = False

    def assign(self, job: ReadJob) -> None:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._setup), daemon=True)
            self._process.start()
            theirs.close()
            self._fresh = True
        self._busy = True
        with contextlib.suppress(OSError):  # a worker that died is noticed when its answer is awaited
            self._connection.send(job)

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
            process = self._process
            if process is not None:
                process.join(5.0)
            code = process.exitcode if process is not None else None
            self.stop()
            raise ReadError(f"the parser crashed ({_describe(code)})") from None
        return self._receive() if message == _READY else message

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
            self._process.join()
            self._process.close()
            self._process = None


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _serve(connection: Connection, setup: _Setup) -> None:
    """The worker process: read, split, send; ends with its parent."""
    threading.Thread(target=_end_with_parent, args=(setup.parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # a parser's prints are no result of ours
        os.dup2(silence, stream)
    module, name = setup.reader
    read: ReadFile = getattr(importlib.import_module(module), name)
    connection.send(_READY)
    while True:
        try:
            job: ReadJob = connection.recv()
            for document in _translated(_read(read, job, setup.settings)):
                connection.send(document)
        except ReadError as error:
            connection.send(error)
        except (EOFError, BrokenPipeError):
            return
        else:
            connection.send(_END)


def _read_here(job: ReadJob, setup: _Setup) -> Iterator[NewDocument]:
    module, name = setup.reader
    return _translated(_read(getattr(importlib.import_module(module), name), job, setup.settings))


def _translated(documents: Iterator[NewDocument]) -> Iterator[NewDocument]:
    """A parser's own error is a reason to skip the file, not to end the run."""
    try:
        yield from documents
    except ReadError:
        raise
    except RecursionError as error:
        raise ReadError("the file is nested too deeply") from error
    except WinnowError as error:
        raise ReadError(str(error)) from error
    except Exception as error:
        raise ReadError(f"{type(error).__name__}: {error}"[:500]) from error


def _read(read: ReadFile, job: ReadJob, settings: IndexingSettings) -> Iterator[NewDocument]:
    from indexing.ingest.prepare import prepare
    from indexing.readers import PIPELINE_VERSION, media_type

    kind, pipeline = media_type(job.path), PIPELINE_VERSION
    for number, extraction in enumerate(read(job.path, max_bytes=int(settings.max_file_mb * 1e6))):
        yield prepare(
            extraction,
            doc_id=job.doc_id if number == 0 else f"{job.doc_id}-{number}",
            media_type=kind,
            pipeline_version=pipeline,
            settings=settings,
        )


def _end_with_parent(parent: int) -> None:
    """A killed parent must not leave a parser behind that hangs for ever."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)
