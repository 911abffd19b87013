"""Small bodies are read whole, and only up to a limit, before a route sees them."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import UploadTooLargeError, error_response


class BodyLimitMiddleware:
    """Answer 413 to a body over ``max_bytes``, declared or sent.

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
        body = None
        if not (declared.isdigit() and int(declared) > self._max_bytes):
            body = await self._read(receive)
        if body is None:
            error = UploadTooLargeError(
                f"the body is larger than {self._max_bytes} bytes; serving.max_query_kb raises the limit"
            )
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> list[Message] | None:
        """Return the body's messages, or None when there is too much of it."""
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._max_bytes:
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
