"""The layers that refuse before any work is spent: too many connections, no place in line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from indexing.errors import CapacityError, QueueFullError
from serving.connections import HOUSE_FULL
from serving.errors import error_response
from serving.metrics import Metrics

if TYPE_CHECKING:
    from serving.state import Service

# What waits for the models; the rest is cheap, or has a line of its own.
_SEARCHES = frozenset({("POST", path) for path in ("/v1/search", "/v1/query", "/v1/chat/completions")})


class FullHouseMiddleware:
    """Answer 503 to a request that came on one connection too many; ``/health`` is answered all the same."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get(HOUSE_FULL) and scope["path"] != "/health":
            self._metrics.refused.labels("connections").inc()
            error = CapacityError("too many connections; serving.max_connections limits them")
            response = error_response(error)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


class TurnAwayMiddleware:
    """Answer 429 to a search that would find no place, before its body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) in _SEARCHES:
            service: Service | None = getattr(scope["app"].state, "service", None)
            if service is not None and service.admission is not None:
                try:
                    service.admission.turn_away()
                except QueueFullError as error:
                    await error_response(error)(scope, receive, send)
                    return
        await self._app(scope, receive, send)
