"""Document ids in URLs: any characters, one path segment.

An id may hold slashes, spaces or question marks.  A client percent-encodes it
(``/v1/documents/a%2Fb%20c%3F.txt/text``); the server hands the app a decoded
path in which that slash can no longer be told from a separator.  This layer
reads the undecoded path again and gives the routes the id as one encoded
segment, whose :data:`DocId` parameter decodes it.

A client that leaves the slashes bare is understood too, unless its id ends in
``/text`` or ``/sentences``.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import Path
from pydantic import AfterValidator
from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = "/v1/documents/"
_VIEWS = ("text", "sentences")

DocId = Annotated[
    str,
    Path(
        description="The document's id, percent-encoded (a slash as %2F).",
        examples=["manual/chapter-1.txt"],
    ),
    AfterValidator(unquote),
]


class DocumentPathMiddleware:
    """Rewrite ``scope["path"]`` of document routes to ``/v1/documents/<one segment>[/view]``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(_PREFIX):
            # In place, not a copy: the router leaves its match in this scope for the access line.
            scope["path"] = canonical_path(_raw_path(scope))
        await self._app(scope, receive, send)


def canonical_path(raw: str) -> str:
    """Return the path with the document id as one percent-encoded segment.

    >>> canonical_path("/v1/documents/a%2Fb/text")
    '/v1/documents/a%2Fb/text'
    >>> canonical_path("/v1/documents/a/b")
    '/v1/documents/a%2Fb'
    >>> canonical_path("/v1/documents/a%2Ftext")
    '/v1/documents/a%2Ftext'
    """
    rest = raw.removeprefix(_PREFIX)
    head, slash, view = rest.rpartition("/")
    if slash and head and view in _VIEWS:
        return f"{_PREFIX}{quote(unquote(head), safe='')}/{view}"
    return f"{_PREFIX}{quote(unquote(rest), safe='')}"


def _raw_path(scope: Scope) -> str:
    raw = scope.get("raw_path")
    if isinstance(raw, bytes):
        # Some clients put the query into raw_path; the ASGI spec excludes it.
        return raw.split(b"?", 1)[0].decode("ascii", "replace")
    return quote(scope["path"])
