"""Sockets with a clock: who sends too slowly, reads too slowly, or comes when the house is full.

Uvicorn has a timeout for idle connections only: one byte of a header now and
then keeps a connection for ever, and so does a client that never reads its
answer.  Bodies have their clock where they are read (:mod:`serving.arrival`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from indexing.settings import ServingSettings

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
# Beyond this many times the limit a connection is dropped before its request is read.
_HARD_LIMIT = 2
_AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s
_MAX_HEAD_BYTES = 64 * 1024
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
# Set in the ASGI scope of a request that comes on one connection too many.
HOUSE_FULL: Final = "winnow.full"


class Connections:
    """The open connections of one server, looked at twice a second."""

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self.open: set[ClockedProtocol] = set()
        self._looking: asyncio.TimerHandle | None = None

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> ClockedProtocol:
        """Return the protocol of a new connection; what ``uvicorn.Config(http=...)`` takes."""
        return ClockedProtocol(self, config, server_state, app_state)

    def add(self, connection: ClockedProtocol) -> None:
        self.open.add(connection)
        if self._looking is None:
            self._look_later()

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._looking = None
        now = asyncio.get_running_loop().time()
        late = [reason for one in list(self.open) if (reason := one.close_when_late(now)) is not None]
        for reason in sorted(set(late)):
            logger.warning("connections_closed count=%d reason=%r", late.count(reason), reason)
        if self.open:
            self._look_later()


class ClockedProtocol(HttpToolsProtocol):
    """One connection: its head, its pauses and its reading are bounded in time."""

    def __init__(
        self, house: Connections, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._house = house
        self._head_bytes: int | None = None  # of a head that is not complete
        self._waiting_since: float | None = None  # for the rest of a head, or for a next request
        self._unread = 0  # bytes that the client had not taken when it last made progress
        self._unread_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since = self._unread_since = self.loop.time()
        self._house.add(self)
        if len(self._house.open) > _HARD_LIMIT * self._house.settings.max_connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is not None:
            # The parser itself takes a head of any size.
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        self._waiting_since = self.loop.time()
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._waiting_since = self._head_bytes = None
        if len(self._house.open) > self._house.settings.max_connections:
            cast("dict[str, Any]", self.scope)[HOUSE_FULL] = True
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def close_when_late(self, now: float) -> str | None:
        """Close the connection when its time is over; return why."""
        settings = self._house.settings
        size = self.transport.get_write_buffer_size()
        if size <= max(0.0, self._unread - settings.min_bytes_per_s * settings.write_timeout_s):
            self._unread_since = now
            self._unread = size
        self._unread = max(self._unread, size)
        if size and now - self._unread_since > settings.write_timeout_s:
            # Closing would wait until the client has read the rest, and so would the kernel without this.
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
            return "the client does not read its answer"
        if self.flow.read_paused:
            # It is the service that does not read: the client is not late.
            self._waiting_since = None if self._waiting_since is None else now
        # Idle between two requests is another thing than slow: that has uvicorn's time.
        idle = self.cycle is not None and self._head_bytes is None
        limit_s = max(settings.read_timeout_s, self.timeout_keep_alive) if idle else settings.read_timeout_s
        if self._waiting_since is not None and now - self._waiting_since > limit_s:
            self.transport.close()
            return "no complete request head in time"
        return None
