"""Which scope each route asks for: a table by method and path, closed by default."""

from __future__ import annotations

from typing import Final, Literal

from serving.access.principal import Access
from serving.qdrant_api.shape import is_dashboard, is_qdrant

Rule = Literal["open", "optional"] | Access

# Pages and probes hold nothing of anybody's documents; "optional" answers more to a caller with rights.
_EXACT: Final[dict[tuple[str, str], Rule]] = {
    ("GET", "/"): "open",
    ("GET", "/docs"): "open",
    ("GET", "/docs/start.js"): "open",
    ("GET", "/openapi.json"): "open",
    ("GET", "/health"): "open",
    ("GET", "/ready"): "optional",
    ("GET", "/metrics"): "admin",
    # These compute an answer and change nothing.
    ("POST", "/v1/search"): "read",
    ("POST", "/v1/query"): "read",
    ("POST", "/v1/chat/completions"): "read",
}
_OPEN_BELOW: Final = ("/static/", "/docs/assets/")
_API: Final = "/v1/"


def rule_of(method: str, path: str) -> Rule:
    """Return what a request needs.

    Below ``/v1/`` a GET needs ``read`` and anything else ``write``, so that a
    new route is never open by oversight; a path that nobody thought of needs
    ``admin``.
    """
    asked = "GET" if method == "HEAD" else method
    exact = _EXACT.get((asked, path))
    if exact is not None:
        return exact
    if asked == "GET" and path.startswith(_OPEN_BELOW):
        return "open"
    if path.startswith(_API):
        return "read" if asked == "GET" else "write"
    if is_qdrant(path):
        # It only reads, by POST as well; what would write is refused by the routes, in Qdrant's words.
        return "open" if asked == "GET" and is_dashboard(path) else "read"
    return "admin"
