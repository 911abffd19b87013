"""Faults of a network and a server, injected into any ASGI app by a seed.

Wrap the app in :class:`Faulty` and run it with :func:`serving`; then set
``faulty.faults = Faults(...)`` at any moment of a test.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

Kind = Literal["drop", "lose", "delay", "garble", "truncate", "error"]

PATIENCE_S = 30.0


@dataclass
class Faults:
    """What goes wrong, how often, and where.

    ``drop``: the connection ends before the request is handled. ``lose``: it is
    handled, and the connection ends without an answer. ``delay``: handled after
    ``delay_s``. ``garble``: the answer's bytes are replaced. ``truncate``: half
    the answer, then the connection ends. ``error``: ``status`` instead of handling.
    """

    kinds: tuple[Kind, ...] = ()
    share: float = 1.0
    seed: int = 0
    paths: str = ""
    methods: tuple[str, ...] = ()
    delay_s: float = 0.1
    status: int = 500
    after: int = 0  # matching requests that pass first
    limit: int | None = None  # faults injected at most
    injected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._seen = 0

    def draw(self, method: str, path: str) -> Kind | None:
        """The fault of this request; None most of the time, if the share says so."""
        if not self.kinds or not re.search(self.paths, path) or (self.methods and method not in self.methods):
            return None
        self._seen += 1
        if self._seen <= self.after or (self.limit is not None and sum(self.injected.values()) >= self.limit):
            return None
        if self._random.random() >= self.share:
            return None
        kind = self._random.choice(self.kinds)
        self.injected[kind] += 1
        return kind


class _Protocol(H11Protocol):
    """Hands the connection to the app, so that a fault can end it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Faulty:
    """An ASGI app with faults in front of it; it keeps what was asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        self.requests.append((method, path))
        faults = self.faults
        kind = faults.draw(method, path)
        if kind == "delay":
            await asyncio.sleep(faults.delay_s)
        if kind in (None, "delay"):
            await self._app(scope, receive, send)
            return
        if kind == "drop":
            _abort(scope)
            return
        if kind == "error":
            body = b'{"status":{"error":"Service internal error: injected"},"time":0.0}'
            await _answer(send, faults.status, body, len(body))
            return
        status, body = await self._handled(scope, receive)
        if kind == "lose":
            _abort(scope)
        elif kind == "garble":
            noise = bytes(byte ^ 0x2A for byte in body)
            await _answer(send, status, noise, len(noise))
        else:
            await _answer(send, status, body[: len(body) // 2], len(body), more=True)
            await asyncio.sleep(0)
            _abort(scope)

    async def _handled(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        status, body = 500, bytearray()

        async def collect(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, collect)
        return status, bytes(body)


def _abort(scope: Scope) -> None:
    scope["state"]["transport"].abort()


async def _answer(send: Send, status: int, body: bytes, length: int, *, more: bool = False) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


def configured(app: ASGIApp) -> uvicorn.Server:
    """An uvicorn server for ``app`` whose connections faults can end."""
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="off", log_level="critical", access_log=False
    )
    return uvicorn.Server(config)


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Run ``app`` in a thread on a free port; gives its address."""
    server = configured(app)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # Connections wait in the backlog from here on: nobody has to poll for the start.
        listener.listen(128)
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(PATIENCE_S)
