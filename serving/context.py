"""What one request carries along: its id, and the counts for its log line."""

from __future__ import annotations

import re
from contextvars import ContextVar
from uuid import uuid4

_REQUEST_ID: ContextVar[str] = ContextVar("winnow_request_id", default="-")
_FACTS: ContextVar[dict[str, object] | None] = ContextVar("winnow_request_facts", default=None)
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id() -> str:
    """Return the id of the request being handled, "-" outside of one."""
    return _REQUEST_ID.get()


def note(name: str, value: object) -> None:
    """Add a fact (a count, never query text) to this request's access line."""
    facts = _FACTS.get()
    if facts is not None:
        facts[name] = value


def begin_request(offered: str | None) -> tuple[str, dict[str, object]]:
    """Start a request: keep the caller's id when it is safe to log, else make one."""
    chosen = offered if offered is not None and _ACCEPTED_ID.fullmatch(offered) else uuid4().hex
    facts: dict[str, object] = {}
    _REQUEST_ID.set(chosen)
    _FACTS.set(facts)
    return chosen, facts
