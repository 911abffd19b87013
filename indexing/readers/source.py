"""What a reader is handed: one file, its kind, and a bound on its bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from indexing.errors import DamagedFileError, ReadError, ReadLimitError

if TYPE_CHECKING:
    from indexing.readers.builder import TextBuilder


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read.

    Attributes:
        path: where the bytes are.
        suffix: the lower-case suffix that chose the reader, ".gz" taken off.
        max_bytes: most bytes of content, after decompression, that may be read.
        gzipped: whether the bytes are wrapped in gzip.
    """

    path: Path
    suffix: str
    max_bytes: int
    gzipped: bool = False

    @property
    def name(self) -> str:
        return self.path.name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Yield the decompressed bytes as a stream.

        Raises:
            ReadError: the file cannot be opened.
            ReadLimitError: it is larger than ``max_bytes`` (a gzip bomb is
                found after at most ``max_bytes`` bytes).
            DamagedFileError: a gzip stream that is cut short or corrupt.
        """
        try:
            size = self.path.stat().st_size
            raw = self.path.open("rb")
        except OSError as error:
            raise ReadError(f"{self.name} cannot be opened: {error.strerror or error}") from error
        with raw:
            if size > self.max_bytes:
                raise too_large(self.name, self.max_bytes)
            if not self.gzipped:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield io.BufferedReader(_Bounded(unpacked, self), buffer_size=1 << 16)

    def builder(self) -> TextBuilder:
        """Return an empty text for this file, bounded by four times ``max_bytes``."""
        from indexing.readers.builder import TextBuilder  # imports numpy through records

        return TextBuilder(self.name, 4 * self.max_bytes)

    def read(self) -> bytes:
        """Return the whole content; the errors are those of :meth:`open`."""
        with self.open() as stream:
            return stream.read()


class _Bounded(io.RawIOBase):
    """A raw stream over gzip that ends in a typed error, not in a full memory."""

    def __init__(self, inner: gzip.GzipFile, source: Source) -> None:
        super().__init__()
        self._inner = inner
        self._source = source
        self._left = source.max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._inner.read(min(len(buffer), self._left + 1))
        except (OSError, EOFError, zlib.error) as error:
            raise DamagedFileError(f"{self._source.name} is not a whole gzip file: {error}") from error
        if len(data) > self._left:
            raise too_large(self._source.name, self._source.max_bytes)
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def too_large(name: str, max_bytes: int) -> ReadLimitError:
    """The error of a file with more bytes of content than one may have."""
    return ReadLimitError(
        f"{name} holds more than {max_bytes / 1e6:.1f} MB; "
        "raise indexing.max_file_mb (WINNOW_INDEXING__MAX_FILE_MB) to read it"
    )
