"""Small bodies are read whole, up to a limit and within a time, before a route sees them."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexing.settings import ServingSettings
from serving.access.principal import principal_of
from serving.arrival import ArrivalClock
from serving.errors import UploadError, UploadTooLargeError, error_response

_KB, _MB = 1000, 1_000_000


class BodyLimitMiddleware:
    """Answer 413 to a body over the limit, or over the key's own, declared or sent; 408 to a late one.

    Routes in ``streaming``, as (method, path), count for themselves.
    """

    def __init__(
        self, app: ASGIApp, settings: ServingSettings, streaming: frozenset[tuple[str, str]]
    ) -> None:
        self._app = app
        self._settings = settings
        self._max_bytes = int(settings.max_query_kb * _KB)
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
        try:
            if declared.isdigit() and int(declared) > most:
                raise _too_large(most)
            body = await _read(receive, most, ArrivalClock(self._settings))
        except UploadError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive, max_bytes: int, clock: ArrivalClock) -> list[Message]:
    """Return the body's messages.

    Raises:
        UploadTooLargeError: there is too much of it.
        UploadStalledError: it comes too slowly.
    """
    messages: list[Message] = []
    while True:
        message = await clock.wait(receive())
        messages.append(message)
        clock.received += len(message.get("body", b""))
        if clock.received > max_bytes:
            raise _too_large(max_bytes)
        if message["type"] != "http.request" or not message.get("more_body", False):
            return messages


def _too_large(max_bytes: int) -> UploadTooLargeError:
    return UploadTooLargeError(
        f"the body is larger than {max_bytes} bytes; serving.max_query_kb and the key limit it"
    )


def _replay(messages: list[Message], receive: Receive) -> Receive:
    left = iter(messages)

    async def next_message() -> Message:
        for message in left:
            return message
        return await receive()

    return next_message
