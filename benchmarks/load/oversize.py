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


def _bodies() -> list[tuple[str, bytes, bytes, int, tuple[int, ...]]]:
    """Return name, head, block, how many blocks, and the statuses that will do."""
    deep = b'{"query": "a", "filter": ' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}"
    nested = b"[" * 200_000
    zeros = b"0" * 65_536
    chunk = b"10000\r\n" + zeros + b"\r\n"
    return [
        (
            "a search that declares 1 GB",
            _head("/v1/search", _JSON, "Content-Length: 1000000000"),
            zeros,
            200,
            (413, 0),
        ),
        (
            "a chunked search without an end",
            _head("/v1/search", _JSON, "Transfer-Encoding: chunked"),
            chunk,
            800,
            (413, 0),
        ),
        (
            "a search that declares 10 bytes and sends 1 MB",
            _head("/v1/search", _JSON, "Content-Length: 10"),
            zeros,
            16,
            (400, 422),
        ),
        (
            f"a filter {_DEEP:,} levels deep",
            _head("/v1/search", _JSON, f"Content-Length: {len(deep)}"),
            deep,
            1,
            (400, 413, 422),
        ),
        (
            "200,000 open brackets",
            _head("/v1/search", _JSON, f"Content-Length: {len(nested)}"),
            nested,
            1,
            (400, 413, 422),
        ),
        (
            "200,000 open brackets as documents",
            _head("/v1/documents", _JSON, f"Content-Length: {len(nested)}"),
            nested,
            1,
            (400, 422),
        ),
        (
            "documents that declare 100 MB of JSON",
            _head("/v1/documents", _JSON, "Content-Length: 100000000"),
            zeros,
            200,
            (413, 0),
        ),
        (
            "a form that declares 10 GB",
            _head("/v1/documents", _FORM, "Content-Length: 10000000000"),
            _PART + zeros,
            200,
            (413, 0),
        ),
        (
            "a head of 1 MB",
            b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ",
            zeros,
            16,
            (400, 431),
        ),
    ]


async def _send(port: int, name: str, head: bytes, block: bytes, blocks: int) -> tuple[int, str, int, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    began, sent = time.perf_counter(), 0
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    try:
        writer.write(head)
        for _ in range(blocks):
            if answer.done():
                break
            writer.write(block)
            sent += len(block)
            await asyncio.sleep(0)
            await writer.drain()
        async with asyncio.timeout(_ANSWER_S):
            found = await answer
            body = await reader.read(2000)
    except (OSError, EOFError, TimeoutError):
        # Closed over unread bytes, a connection is reset: at times before the answer was read.
        lost = not answer.done() or answer.cancelled() or answer.exception() is not None
        answer.cancel()
        if lost:
            return 0, "closed", sent, time.perf_counter() - began
        found, body = answer.result(), b""
    finally:
        writer.close()
    return int(found[9:12]), _kind(body), sent, time.perf_counter() - began


def _kind(body: bytes) -> str:
    try:
        return str(json.loads(body)["type"])
    except (ValueError, KeyError, TypeError):
        return ""


async def oversize(port: int) -> list[Refusal]:
    """Send every body, one after the other."""
    outcomes = []
    for name, head, block, blocks, expected in _bodies():
        status, kind, sent, seconds = await _send(port, name, head, block, blocks)
        outcomes.append(Refusal(name, status, kind, sent, seconds, expected))
    return outcomes
