"""Who may talk to a service without passwords: this machine's own pages and programs.

A browser sends any site's form to http://127.0.0.1 without asking, and a DNS
name can be pointed at it (rebinding).  So a loopback service answers loopback
names only, and a request that changes or computes something must not come
from another site's page.
"""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import ForbiddenError, error_response

logger = logging.getLogger(__name__)

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class GuardMiddleware:
    """Refuse foreign Host names (on loopback) and other sites' pages (everywhere)."""

    def __init__(self, app: ASGIApp, bound_host: str, allowed_hosts: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed_hosts)
        # Bound to a network address, the names it is reached by are not known here.
        self._any_host = "*" in self._allowed or (not self._allowed and not is_loopback(bound_host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope["method"], Headers(scope=scope))
            if refusal is not None:
                logger.warning("request_refused reason=%r", refusal)
                await error_response(ForbiddenError(refusal))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        name = _host_name(host)
        if not (self._any_host or is_loopback(name) or name in self._allowed):
            return f"Host {host!r} is not a name of this service; add it to serving.allowed_hosts"
        if method in _SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                return "the request comes from another site's page"
        elif urlsplit(origin).netloc.lower() != host.lower():
            return f"the request comes from a page of {origin!r}, not of this service"
        return None


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
