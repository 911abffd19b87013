"""The audit log: who wrote, who was refused, which key was used for what.

One JSON line a request, without bodies, questions and secrets::

    {"time": "...", "request_id": "...", "caller": "1f2e3d4c5b6a", "tenant": "a", "method": "DELETE",
     "path": "/v1/documents/x", "scope": "write", "status": 200}
"""

from __future__ import annotations

from datetime import UTC, datetime

from indexing.settings import ServingSettings
from serving.access.principal import Principal
from serving.access.rules import Rule
from serving.context import request_id
from serving.line_log import LineLog

_MB = 1_000_000


def open_audit_log(settings: ServingSettings) -> LineLog | None:
    """Return the log, None when no file is named.

    Raises:
        SettingsError: the file cannot be written.
    """
    if settings.audit_log is None:
        return None
    return LineLog(settings.audit_log, "audit_log", max_bytes=int(settings.audit_log_mb * _MB))


def request_line(
    principal: Principal | None, rule: Rule, method: str, path: str, status: int
) -> dict[str, object]:
    """Return the line of one request; ``caller`` and ``tenant`` are null when nobody was let in."""
    return {
        "time": _now(),
        "request_id": request_id(),
        "caller": None if principal is None else principal.id,
        "tenant": None if principal is None else principal.tenant,
        "method": method,
        "path": path,
        "scope": rule,
        "status": status,
    }


def key_line(event: str, key_id: str, name: str) -> dict[str, object]:
    """Return the line of a key that the command line made, renewed or ended."""
    return {"time": _now(), "event": event, "key": key_id, "name": name}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
