"""A reader that does what its file says: the harm that a parser taken over by a file could try."""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from indexing.records import Extraction


class Canary:
    """Runs ``touch`` when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self._path}",)


def read(path: Path, *, max_bytes: int) -> Iterator[Extraction]:
    word, _, rest = path.read_text().partition(" ")
    said = _HARM[word](rest) if word in _HARM else None
    yield Extraction(f"{word} {rest} {'' if said is None else said}".strip())


def _hungry(_: str) -> None:
    held, size = [], 10_000_000
    while True:
        try:
            held.append(bytearray(size))
        except MemoryError:
            if size < 1000:
                raise
            size //= 10  # down to the last corner: what says so has no room either


def _busy(_: str) -> None:
    while True:
        pass


def _stuck(_: str) -> None:
    ctypes.PyDLL(None).sleep(600)  # keeps the interpreter's lock: no thread of the process can act


def _write(path: str) -> None:
    Path(path).write_text("x" * 10)


def _connect(port: str) -> None:
    socket.create_connection(("127.0.0.1", int(port)), timeout=5)


def _start(path: str) -> None:
    subprocess.run(["touch", path], check=True)


def _say(names: str) -> str:
    return repr({name: os.environ.get(name) for name in names.split()})


def _pid(_: str) -> str:
    return str(os.getpid())


def _raw(data: bytes) -> None:
    """Past the protocol, straight into the connection to the parent."""
    with socket.socket(fileno=os.dup(int(sys.argv[1]))) as connection:
        connection.sendall(data)


def _pickled(path: str) -> None:
    body = pickle.dumps(Canary(path))
    _raw(struct.pack(">I", len(body)) + body)
    time.sleep(60)


def _huge(_: str) -> None:
    _raw(struct.pack(">I", 0xFFFFFFF0) + b"x" * 1000)
    time.sleep(60)


def _half(_: str) -> None:
    _raw(struct.pack(">I", 1000) + b"x" * 10)
    time.sleep(60)


def _other(_: str) -> None:
    _raw(struct.pack(">I", 1) + b"\x01")
    time.sleep(60)


def _forged(_: str) -> None:
    import msgpack

    body = msgpack.packb(["document", {"doc_id": ["not", "a", "string"], "blocks": 7}])
    _raw(struct.pack(">I", len(body)) + body)
    time.sleep(60)


def _flood(_: str) -> None:
    import msgpack

    block = {"first_ordinal": 0, "count": 0, "start": 0, "end": 0, "text": "x" * 5_000_000}
    block |= {"spans": b"", "pages": None, "sections": []}
    document = {"doc_id": "a", "version": "v", "title": "", "media_type": "", "sentences": 0, "chars": 0}
    document |= {"metadata": {}, "blocks": [block], "explicit": True}
    body = msgpack.packb(["document", document])
    while True:
        _raw(struct.pack(">I", len(body)) + body)


_HARM: dict[str, Callable[[str], object]] = {
    "HUNGRY": _hungry,
    "BUSY": _busy,
    "STUCK": _stuck,
    "WRITE": _write,
    "CONNECT": _connect,
    "START": _start,
    "SAY": _say,
    "PID": _pid,
    "PICKLED": _pickled,
    "HUGE": _huge,
    "HALF": _half,
    "OTHER": _other,
    "FORGED": _forged,
    "FLOOD": _flood,
}
