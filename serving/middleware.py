"""The outermost layer: request id, security headers, access line, metrics, last resort.

Pure ASGI: Starlette's BaseHTTPMiddleware runs the app in another task and
would hide a client's departure from it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.context import begin_request
from serving.errors import internal_error_response
from serving.logs import FACTS
from serving.metrics import Metrics

access = logging.getLogger("serving.access")
logger = logging.getLogger(__name__)

CLIENT_LEFT: Final = 499  # nginx's number; never sent, there is nobody to read it

# The page uses its own files only; nothing is inline, nothing comes from elsewhere.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger UI writes style attributes; its scripts still come from here alone.
_DOCS_POLICY: Final = _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")

_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class RequestMiddleware:
    """Give every request an id, its headers, its log line and its numbers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, facts = begin_request(Headers(scope=scope).get("x-request-id"))
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, scope["path"], request_id)
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_headers)
            except asyncio.CancelledError:
                status = CLIENT_LEFT
                raise
            except Exception:
                # Starlette's own last resort sits outside of this layer and
                # would answer without the id that finds the log line.
                logger.exception("request_crashed id=%s", request_id)
                if status:
                    raise
                await internal_error_response()(scope, receive, send_with_headers)
            finally:
                self._report(scope, status or CLIENT_LEFT, started, request_id, facts)

    def _report(
        self, scope: Scope, status: int, started: float, request_id: str, facts: dict[str, object]
    ) -> None:
        seconds = time.perf_counter() - started
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        self._metrics.requests.labels(_method(scope), route, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        # Probes every few seconds would drown the rest.
        level = logging.DEBUG if route in ("/health", "/ready", "/metrics") else logging.INFO
        if access.isEnabledFor(level):
            counts = "".join(f" {name}={value}" for name, value in facts.items())
            said = {
                "method": _method(scope),
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
            }
            access.log(
                level,
                "request id=%s method=%s route=%s status=%d ms=%.1f%s",
                request_id,
                *said.values(),
                counts,
                extra={FACTS: {**facts, **said}},
            )


def _method(scope: Scope) -> str:
    """The method when it is a usual one: a label's values must be few."""
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "OTHER"


def _add_headers(message: Message, path: str, request_id: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["x-request-id"] = request_id
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("content-security-policy", _DOCS_POLICY if path.startswith("/docs") else _POLICY)
    if path.startswith("/v1/"):
        headers.setdefault("cache-control", "no-store")
    elif path == "/" or path.startswith("/static/"):
        # Files are revalidated by ETag, so that an upgrade shows at once.
        headers.setdefault("cache-control", "no-cache")
