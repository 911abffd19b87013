"""Messages between an ingest run and its parser processes: bounded, timed, never code.

A frame is its length (4 bytes, big-endian) and a msgpack body.  What comes
from a parser is checked against its type: a parser that a file has taken over
can say wrong things about that file and nothing else.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import fields
from functools import cache
from typing import Any

import msgpack
from pydantic import TypeAdapter, ValidationError

from indexing.catalog.records import NewBlock, NewDocument
from indexing.errors import ParserCrashError, ReadError, ReadLimitError

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 20
_DOCUMENT = tuple(field.name for field in fields(NewDocument))
_BLOCK = tuple(field.name for field in fields(NewBlock))


class Frames:
    """One end of a connection; not for several threads at once."""

    def __init__(self, connection: socket.socket, max_bytes: int) -> None:
        self._socket = connection
        self._max_bytes = min(max_bytes, 2**32 - 1)

    def send(self, body: object) -> None:
        """Send one message.

        Raises:
            ReadLimitError: it is larger than the limit.
            OSError: the other side is gone.
        """
        packed: bytes = msgpack.packb(body, use_bin_type=True, unicode_errors="surrogatepass")
        if len(packed) > self._max_bytes:
            raise ReadLimitError(f"a document of {len(packed) / 1e6:.0f} MB is more than one may take")
        self._socket.settimeout(None)
        self._socket.sendall(_LENGTH.pack(len(packed)))
        self._socket.sendall(packed)

    def receive(self, timeout_s: float | None = None) -> tuple[Any, int]:
        """Return the next message and its size in bytes.

        Raises:
            TimeoutError: it was not there, whole, after ``timeout_s``.
            EOFError, OSError: the other side is gone.
            ParserCrashError: larger than the limit, or not msgpack.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size, deadline))
        if size > self._max_bytes:
            raise ParserCrashError(f"the parser announced {size} bytes, more than {self._max_bytes}")
        body = self._exactly(size, deadline)
        try:
            return msgpack.unpackb(body, raw=False, use_list=False, unicode_errors="surrogatepass"), size
        except (ValueError, msgpack.UnpackException) as error:
            raise ParserCrashError(f"the parser sent something that is no message: {error}") from error

    def _exactly(self, size: int, deadline: float | None) -> bytearray:
        # Grown as the bytes come: an announced size alone must not take memory.
        data = bytearray()
        while len(data) < size:
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
            else:
                self._socket.settimeout(None)
            piece = self._socket.recv(min(_CHUNK, size - len(data)))
            if not piece:
                raise EOFError
            data += piece
        return data

    def close(self) -> None:
        self._socket.close()


def document_to_wire(document: NewDocument) -> dict[str, Any]:
    """Return the document as plain values; bytes and strings are not copied."""
    values: dict[str, Any] = {name: getattr(document, name) for name in _DOCUMENT}
    values["blocks"] = [{name: getattr(block, name) for name in _BLOCK} for block in document.blocks]
    return values


def document_from_wire(value: object) -> NewDocument:
    """Return the document that a parser sent.

    Raises:
        ParserCrashError: it is none.
    """
    try:
        return _documents().validate_python(value)
    except ValidationError as error:
        raise ParserCrashError(
            f"the parser sent no document ({error.error_count()} fields are wrong)"
        ) from error


def error_to_wire(error: ReadError) -> list[str]:
    return [type(error).__name__, str(error)]


def error_from_wire(kind: object, message: object) -> ReadError:
    """Return the error that a parser sent, as the class it names where that is one of ours."""
    return _errors().get(str(kind), ReadError)(str(message)[:2000])


@cache
def _documents() -> TypeAdapter[NewDocument]:
    return TypeAdapter(NewDocument)


@cache
def _errors() -> dict[str, type[ReadError]]:
    waiting, found = [ReadError], {}
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting.extend(kind.__subclasses__())
    return found
