"""Log lines of the service on stderr: text, or one JSON object a line.

::

    {"time": "2024-05-06T07:08:09.123+00:00", "level": "info", "logger": "serving.access",
     "message": "request id=... method=POST route=/v1/search status=200 ms=12.3 results=8",
     "request_id": "...", "trace_id": "...", "method": "POST", "route": "/v1/search", "status": 200,
     "ms": 12.3, "results": 8}

The text of a query is written at the level ``debug`` alone, which is never the
default.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal

from retrieval.spans import current_recorder
from serving.context import request_id

LogFormat = Literal["text", "json"]

# One line a request is written by our own layer; libraries below warning say little of use here.
_NOISY: Final = ("uvicorn", "httpx", "httpcore", "asyncio", "python_multipart", "opentelemetry")
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
# A record's attribute with the values of its message, by name.
FACTS: Final = "facts"


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record, with the request's id where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        known = request_id()
        if known != "-":
            line["request_id"] = known
        recorder = current_recorder()
        if recorder is not None:
            line["trace_id"] = recorder.trace_id
        facts = getattr(record, FACTS, None)
        if isinstance(facts, dict):
            # What the line itself is made of is not to be overwritten by a fact of that name.
            line.update({name: value for name, value in facts.items() if name not in line})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # default=str: a log line is written whatever is in it; a newline in a value stays inside of it.
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Write this process' log lines to stderr; only entry points call this."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
