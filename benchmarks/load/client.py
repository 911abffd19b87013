"""A small HTTP/1.1 client: an open loop on two cores must cost less than what it measures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass

_GAVE_UP_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: status 0 when there was none; seconds from the sent request to its last byte."""

    status: int
    seconds: float
    retry_after: bool = False
    degraded: bool = False


class Connection:
    """One connection that stays open as long as the server lets it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its whole answer; a kept connection that has ended meanwhile is renewed."""
        kept = self._streams is not None
        began = time.perf_counter()
        answer = await self._ask(request, began)
        return await self._ask(request, began) if kept and answer.status == 0 else answer

    async def _ask(self, request: bytes, began: float) -> Answer:
        try:
            async with asyncio.timeout(_GAVE_UP_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                body = await reader.readexactly(_length(lower))
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
            return Answer(0, time.perf_counter() - began)
        if b"\r\nconnection: close" in lower:
            self.close()
        seconds = time.perf_counter() - began
        degraded = b'"degraded":["' in body
        return Answer(int(head[9:12]), seconds, b"\r\nretry-after:" in lower, degraded)

    def close(self) -> None:
        """Let go of the socket; the next request opens another."""
        if self._streams is not None:
            with contextlib.suppress(OSError):
                self._streams[1].close()
            self._streams = None


def _length(head: bytes) -> int:
    _, _, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


def search_request(query: str, *, rerank: bool | None = None) -> bytes:
    """Return the bytes of ``POST /v1/search``."""
    body = json.dumps({"query": query, "top_n": 5, "rerank": rerank}).encode()
    head = (
        "POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
