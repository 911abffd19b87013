"""Qdrant's shape around this part of the service: its key header and its errors."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import PROBLEM_JSON

PREFIX: Final = "/qdrant"
DASHBOARD: Final = f"{PREFIX}/dashboard"
ASSETS: Final = f"{PREFIX}/assets"

# Qdrant answers 400 where this service answers 422: the request was read and is not accepted.
_STATUS: Final = {HTTPStatus.UNPROCESSABLE_ENTITY: HTTPStatus.BAD_REQUEST}
# What its own page needs: styles written by its code, and an editor that runs in workers.
_DASHBOARD_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def is_qdrant(path: str) -> bool:
    """Return whether a path belongs to Qdrant's API.

    >>> is_qdrant("/qdrant/collections"), is_qdrant("/qdrant"), is_qdrant("/qdrants")
    (True, True, False)
    """
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def is_dashboard(path: str) -> bool:
    """Return whether a path is a file of the dashboard, which holds nothing of anybody's."""
    return path == DASHBOARD or path.startswith((f"{DASHBOARD}/", f"{ASSETS}/"))


class QdrantShapeMiddleware:
    """Read Qdrant's ``api-key`` header as ours, and turn our problem bodies into Qdrant's errors.

    Outside of the access layer, whose refusals are errors too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_qdrant(scope["path"]):
            await self._app(scope, receive, send)
            return
        _take_key(scope)
        await self._app(scope, receive, _Reshaped(scope, receive, send))


def _take_key(scope: Scope) -> None:
    """Add the ``authorization`` header that the key stands for, unless there is one."""
    headers = Headers(scope=scope)
    key = headers.get("api-key")
    if key and "authorization" not in headers:
        # In place: the router leaves its match in this scope for the access line.
        scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {key}".encode("latin-1"))]


class _Reshaped:
    """The ``send`` of one request: a problem body is kept back and sent as Qdrant's error."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()
        self._problem: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("content-type", "").startswith(PROBLEM_JSON):
                self._problem = message
                return
            if is_dashboard(self._scope["path"]):
                headers["content-security-policy"] = _DASHBOARD_POLICY
            else:
                headers.setdefault("cache-control", "no-store")
        elif self._problem is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._error(self._problem)
            return
        await self._send(message)

    async def _error(self, start: Message) -> None:
        status = HTTPStatus(start["status"])
        detail = json.loads(self._body).get("detail", status.phrase)
        kept = {
            name: value
            for name, value in MutableHeaders(scope=start).items()
            if name in ("retry-after", "www-authenticate", "connection", "allow")
        }
        body = {"status": {"error": detail}, "time": time.perf_counter() - self._began}
        answer = JSONResponse(body, int(_STATUS.get(status, status)), {**kept, "cache-control": "no-store"})
        await answer(self._scope, self._receive, self._send)
