"""The parser process: reads files, splits them, sends the documents to its parent.

It is a process of its own, started by path and not by a fork or a spawn: the
program that uses Winnow may have threads, and its main module may have no
``if __name__ == "__main__"`` to stop a second import.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from indexing.catalog.records import NewDocument
from indexing.errors import ReadError, WinnowError
from indexing.records import Extraction
from indexing.settings import IndexingSettings

ReadFile = Callable[..., Iterator[Extraction]]

READY = "ready"
END = "end"
_PARENT_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class ReadJob:
    """One file to read; ``doc_id`` is for documents that bring none."""

    uri: str
    path: Path
    sha256: str
    size: int
    doc_id: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker process is told once."""

    reader: tuple[str, str]
    settings: IndexingSettings
    parent: int
    search_path: tuple[str, ...]


def serve(connection: Connection, setup: Setup) -> None:
    """The worker process: read, split, send; ends with its parent."""
    threading.Thread(target=_end_with_parent, args=(setup.parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # a parser's prints are no result of ours
        os.dup2(silence, stream)
    sys.path[:] = setup.search_path
    module, name = setup.reader
    read: ReadFile = getattr(importlib.import_module(module), name)
    connection.send(READY)
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
            connection.send(END)


def read_here(job: ReadJob, setup: Setup) -> Iterator[NewDocument]:
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


def main() -> None:
    """Serve on the connected socket whose descriptor is the first argument."""
    connection = Connection(int(sys.argv[1]))
    setup: Setup = connection.recv()
    serve(connection, setup)
