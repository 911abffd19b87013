"""Bodies that are too large, too deep or not what they say: refused, and how much was read of them."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

_ANSWER_S = 30.0
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """What became of one body; status 0: the connection was closed before the answer was read."""

    name: str
    status: int
    kind: str
    sent_bytes: int
    seconds: float
    expected: tuple[int, ...]

    @property
    def as_it_should_be(self) -> bool:
        return self.status in self.expected


def _head(path: str, *lines: str) -> bytes:
    rest = "".join(f"{line}\r\n" for line in lines)
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{rest}\r\n".encode()


_JSON = "Content-Type: application/json"
_FORM = "Content-Type: multipart/form-data; boundary=B"
_PART = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
_DEEP = 60_000


@dataclass(frozen=True, slots=True)
class _Body:
    """A head and ``blocks`` times ``block``; ``expected``: the statuses that will do."""

    name: str
    head: bytes
    block: bytes
    blocks: int
    expected: tuple[int, ...]


def _endless() -> list[_Body]:
    """Bodies that are longer than they may be, or than they say."""
    zeros = b"0" * 65_536
    chunk = b"10000\r\n" + zeros + b"\r\n"
    gigabyte = _head("/v1/search", _JSON, "Content-Length: 1000000000")
    chunked = _head("/v1/search", _JSON, "Transfer-Encoding: chunked")
    short = _head("/v1/search", _JSON, "Content-Length: 10")
    documents = _head("/v1/documents", _JSON, "Content-Length: 100000000")
    form = _head("/v1/documents", _FORM, "Content-Length: 10000000000")
    head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "
    return [
        _Body("a search that declares 1 GB", gigabyte, zeros, 200, (413, 0)),
        _Body("a chunked search without an end", chunked, chunk, 800, (413, 0)),
        _Body("a search that declares 10 bytes and sends 1 MB", short, zeros, 16, (400, 422)),
        _Body("documents that declare 100 MB of JSON", documents, zeros, 200, (413, 0)),
        _Body("a form that declares 10 GB", form, _PART + zeros, 200, (413, 0)),
        _Body("a head of 1 MB", head, zeros, 16, (400, 431)),
    ]


def _deep() -> list[_Body]:
    """Bodies of an honest length that would take a parser's stack."""
    filters = b'{"query": "a", "filter": ' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}"
    brackets = b"[" * 200_000
    plan = [
        (f"a filter {_DEEP:,} levels deep", "/v1/search", filters, (400, 413, 422)),
        ("200,000 open brackets", "/v1/search", brackets, (400, 413, 422)),
        ("200,000 open brackets as documents", "/v1/documents", brackets, (400, 422)),
    ]
    return [
        _Body(name, _head(path, _JSON, f"Content-Length: {len(body)}"), body, 1, expected)
        for name, path, body, expected in plan
    ]


async def _send(port: int, body: _Body) -> tuple[int, str, int, float]:
    """Return the status, the kind of the problem, the bytes sent and the seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    began, sent = time.perf_counter(), 0
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    try:
        writer.write(body.head)
        for _ in range(body.blocks):
            if answer.done():
                break
            writer.write(body.block)
            sent += len(body.block)
            await asyncio.sleep(0)
            await writer.drain()
        async with asyncio.timeout(_ANSWER_S):
            found = await answer
            told = await reader.read(2000)
    except (OSError, EOFError, TimeoutError):
        # Closed over unread bytes, a connection is reset: at times before the answer was read.
        lost = not answer.done() or answer.cancelled() or answer.exception() is not None
        answer.cancel()
        if lost:
            return 0, "closed", sent, time.perf_counter() - began
        found, told = answer.result(), b""
    finally:
        writer.close()
    return int(found[9:12]), _kind(told), sent, time.perf_counter() - began


def _kind(told: bytes) -> str:
    try:
        return str(json.loads(told)["type"])
    except (ValueError, KeyError, TypeError):
        return ""


async def oversize(port: int) -> list[Refusal]:
    """Send every body, one after the other."""
    outcomes = []
    for body in (*_endless(), *_deep()):
        status, kind, sent, seconds = await _send(port, body)
        outcomes.append(Refusal(body.name, status, kind, sent, seconds, body.expected))
    return outcomes
