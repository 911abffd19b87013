"""Small bodies are read whole, and only up to a limit, before a route sees them."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.principal import principal_of
from serving.errors import UploadTooLargeError, error_response

_MB = 1_000_000


class BodyLimitMiddleware:
    """Answer 413 to a body over ``max_bytes``, or over the key's own limit, declared or sent.

    Routes in ``streaming``, as (method, path), count for themselves.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, streaming: frozenset[tuple[str, str]]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._streaming = streaming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) in self._streaming:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        principal = principal_of(scope)
        most = self._max_bytes
        if principal is not None:
            most = int(principal.smaller_mb(most / _MB) * _MB)
        body = None
        if not (declared.isdigit() and int(declared) > most):
            body = await _read(receive, most)
        if body is None:
            error = UploadTooLargeError(
                f"the body is larger than {most} bytes; serving.max_query_kb and the key limit it"
            )
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive, max_bytes: int) -> list[Message] | None:
    """Return the body's messages, or None when there is too much of it."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > max_bytes:
            return None
        if message["type"] != "http.request" or not message.get("more_body", False):
            return messages


def _replay(messages: list[Message], receive: Receive) -> Receive:
    left = iter(messages)

    async def next_message() -> Message:
        for message in left:
            return message
        return await receive()

    return next_message
