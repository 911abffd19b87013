"""The parser process: reads files, splits them, sends the documents to its parent.

It is a process of its own, started by path and not by a fork or a spawn: the
program that uses Winnow may have threads, and its main module may have no
``if __name__ == "__main__"`` to stop a second import.  Before it loads a
parser it gives up what a parser does not need (:mod:`indexing.parsing.confine`).
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexing.catalog.records import NewDocument
from indexing.errors import ReadError, ReadLimitError, WinnowError
from indexing.parsing.confine import allow_cpu, confine
from indexing.parsing.frames import Frames, document_to_wire, error_to_wire
from indexing.records import Extraction
from indexing.settings import IndexingSettings

ReadFile = Callable[..., Iterator[Extraction]]

READY = "ready"
DOCUMENT = "document"
FAILED = "failed"
END = "end"
# Long tables, the slowest to read, take a second a MB on one core.
_S_PER_MB = 5.0
_RESERVE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class ReadJob:
    """One file to read; ``doc_id`` is for documents that bring none."""

    uri: str
    path: Path
    sha256: str
    size: int
    doc_id: str

    def content_bytes(self, max_bytes: int) -> int:
        """The most bytes of content it can have; what is packed may unfold to ``max_bytes``."""
        return max_bytes if self.path.name.lower().endswith(".gz") else min(self.size, max_bytes)

    def to_wire(self) -> list[object]:
        return [self.uri, os.fsencode(self.path), self.sha256, self.size, self.doc_id]

    @classmethod
    def from_wire(cls, values: Any) -> ReadJob:
        uri, path, sha256, size, doc_id = values
        return cls(uri, Path(os.fsdecode(path)), sha256, size, doc_id)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker process is told once."""

    reader: tuple[str, str]
    settings: IndexingSettings
    parent: int
    search_path: tuple[str, ...]

    def to_wire(self) -> list[object]:
        return [self.reader, self.settings.model_dump(mode="json"), self.parent, self.search_path]

    @classmethod
    def from_wire(cls, values: Any) -> Setup:
        reader, settings, parent, search_path = values
        return cls(reader, IndexingSettings.model_validate(settings), parent, search_path)

    @property
    def max_bytes(self) -> int:
        return int(self.settings.max_file_mb * 1e6)

    def more_s(self, job: ReadJob) -> float:
        """What a large file may take beyond the limit of a small one, in seconds."""
        return _S_PER_MB * (job.content_bytes(self.max_bytes) // 1_000_000)

    @property
    def max_frame(self) -> int:
        """No document is larger than the memory it was made in."""
        return self.settings.parser_memory_mb * 1_000_000


def serve(frames: Frames) -> None:
    """The worker process: read, split, send; ends with its parent."""
    setup = Setup.from_wire(frames.receive()[0])
    confine(setup.parent, setup.settings.parser_memory_mb)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # a parser's prints are no result of ours
        os.dup2(silence, stream)
    sys.path[:] = setup.search_path
    module, name = setup.reader
    read: ReadFile = getattr(importlib.import_module(module), name)
    reserve = bytearray(_RESERVE_BYTES)  # given back when memory is out, so that there is room to say so
    frames.send([READY])
    while True:
        try:
            job = ReadJob.from_wire(frames.receive()[0])
        except EOFError:
            return
        allow_cpu(setup.settings.parser_cpu_s + setup.more_s(job))
        try:
            for document in _translated(_read(read, job, setup), setup.settings):
                frames.send([DOCUMENT, document_to_wire(document)])
        except ReadError as error:
            spent = isinstance(error.__cause__, MemoryError)  # what it holds may not be given back
            if spent:
                reserve.clear()
            frames.send([FAILED, *error_to_wire(error), spent])
        except MemoryError:  # while sending, or while an error was made of it
            reserve.clear()
            frames.send([FAILED, *error_to_wire(_too_hungry(setup.settings)), True])
        else:
            frames.send([END])


def read_here(job: ReadJob, setup: Setup) -> Iterator[NewDocument]:
    """Read in this process, which a file may then hang or crash."""
    module, name = setup.reader
    return _translated(_read(getattr(importlib.import_module(module), name), job, setup), setup.settings)


def _translated(documents: Iterator[NewDocument], settings: IndexingSettings) -> Iterator[NewDocument]:
    """A parser's own error is a reason to skip the file, not to end the run."""
    try:
        yield from documents
    except ReadError:
        raise
    except MemoryError as error:
        raise _too_hungry(settings) from error
    except RecursionError as error:
        raise ReadError("the file is nested too deeply") from error
    except WinnowError as error:
        raise ReadError(str(error)) from error
    except Exception as error:
        raise ReadError(f"{type(error).__name__}: {error}"[:500]) from error


def _too_hungry(settings: IndexingSettings) -> ReadLimitError:
    return ReadLimitError(
        f"reading it takes more than {settings.parser_memory_mb} MB of memory; raise "
        "indexing.parser_memory_mb (WINNOW_INDEXING__PARSER_MEMORY_MB) to read it"
    )


def _read(read: ReadFile, job: ReadJob, setup: Setup) -> Iterator[NewDocument]:
    from indexing.parsing.prepare import prepare
    from indexing.readers import PIPELINE_VERSION, media_type

    kind, pipeline = media_type(job.path), PIPELINE_VERSION
    for number, extraction in enumerate(read(job.path, max_bytes=setup.max_bytes)):
        yield prepare(
            extraction,
            doc_id=job.doc_id if number == 0 else f"{job.doc_id}-{number}",
            media_type=kind,
            pipeline_version=pipeline,
            settings=setup.settings,
        )


def main() -> None:
    """Serve on the connected socket whose descriptor is the first argument."""
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        try:
            serve(Frames(connection, int(sys.argv[2])))
        except (BrokenPipeError, ConnectionResetError, EOFError):  # the parent has gone
            return
