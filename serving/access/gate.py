"""The layer that decides, before a body is read, who calls and whether they may."""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexing.errors import WinnowError
from indexing.settings import Settings
from serving.access.audit import open_audit_log, request_line
from serving.access.jwt import JwtVerifier
from serving.access.keys import KeyStore
from serving.access.principal import (
    EVERYONE,
    SCOPE_KEY,
    TENANT_HEADER,
    Principal,
    choose_tenant,
)
from serving.access.rates import RateLimiter
from serving.access.rules import Rule, rule_of
from serving.access.tokens import parse_token
from serving.context import note
from serving.errors import RateLimitedError, ScopeError, UnauthenticatedError, error_response, winnow_problem
from serving.line_log import LineLog
from serving.threads import in_thread

logger = logging.getLogger(__name__)


class Gate:
    """Keys, tokens, rates and the audit log of one app.

    Raises:
        WinnowError: a store, a key set or the audit file does not open.
    """

    def __init__(self, settings: Settings) -> None:
        serving = settings.serving
        self._per_minute = serving.requests_per_minute
        self._keys = KeyStore(settings.home) if serving.require_keys else None
        self._jwt = JwtVerifier(serving.jwt) if serving.require_keys and serving.jwt is not None else None
        self._rates = RateLimiter()
        self.audit: LineLog | None = open_audit_log(serving)

    async def identify(self, rule: Rule, headers: Headers) -> Principal | None:
        """Return who calls; None for nobody, on a route that is open to them.

        Raises:
            UnauthenticatedError: no key, or not a valid one.
            ScopeError: the key does not belong to the tenant that is asked for.
        """
        if rule == "open":
            return None
        asked = headers.get(TENANT_HEADER)
        if self._keys is None:
            choose_tenant(EVERYONE.tenants, asked)
            return EVERYONE
        if rule == "optional":
            try:
                return await self._identify(headers, asked)
            except (UnauthenticatedError, ScopeError):
                # A probe with an old key must not take the service out of rotation.
                return None
        return await self._identify(headers, asked)

    def allow(self, rule: Rule, principal: Principal) -> None:
        """Count the request and let it pass.

        Raises:
            RateLimitedError: the caller has no requests left for now.
            ScopeError: the caller lacks the scope.
        """
        if rule == "open" or rule == "optional":
            return
        self._count(principal)
        principal.require(rule)

    async def close(self) -> None:
        """Let go of the files."""
        if self._keys is not None:
            await in_thread(self._keys.close)
        if self.audit is not None:
            await self.audit.close()

    async def _identify(self, headers: Headers, asked: str | None) -> Principal:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise UnauthenticatedError("send an API key: Authorization: Bearer wnw_...")
        return await in_thread(self._known, text.strip(), asked)

    def _known(self, text: str, asked: str | None) -> Principal:
        token = parse_token(text)
        if token is not None and self._keys is not None:
            key = self._keys.authenticate(token)
            return Principal(key.id, choose_tenant(key.tenants, asked), key.tenants, key.scopes, key.limits)
        if self._jwt is None:
            raise UnauthenticatedError("this is not an API key of Winnow's: wnw_<id>_<secret>")
        return self._jwt.verify(text, asked)

    def _count(self, principal: Principal) -> None:
        per_minute = principal.limits.per_minute or self._per_minute
        if not per_minute or principal is EVERYONE:
            return
        wait_s = self._rates.take(principal.id, per_minute)
        if wait_s:
            raise RateLimitedError(f"more than {per_minute} requests a minute", retry_after_s=wait_s)


class AccessMiddleware:
    """Answer 401, 403 or 429, or hand the request on with its caller in the ASGI scope."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = rule_of(scope["method"], scope["path"])
        send = self._audited(scope, rule, send)
        try:
            principal = await self._gate.identify(rule, Headers(scope=scope))
            scope[SCOPE_KEY] = principal
            if principal is not None:
                self._gate.allow(rule, principal)
        except WinnowError as error:
            kind = winnow_problem(error)["type"]
            logger.warning("request_refused kind=%s method=%s", kind, scope["method"])
            await error_response(error)(scope, receive, send)
            return
        if principal is not None and principal is not EVERYONE:
            note("caller", principal.id)
            note("tenant", principal.tenant)
        await self._app(scope, receive, send)

    def _audited(self, scope: Scope, rule: Rule, send: Send) -> Send:
        audit = self._gate.audit
        if audit is None or rule in ("open", "optional"):
            return send
        # The document layer rewrites the path in place.
        method, path = scope["method"], scope["path"]

        async def send_and_audit(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = int(message["status"])
                principal: Principal | None = scope.get(SCOPE_KEY)
                if principal is not EVERYONE or rule == "write" or status == HTTPStatus.FORBIDDEN:
                    audit.write(request_line(principal, rule, method, path, status))
            await send(message)

        return send_and_audit
