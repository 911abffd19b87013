"""The opt-in log of questions: JSON lines from which a reranker can be taught.

Off unless ``serving.query_log`` names a file.  One line a search::

    {"time": "2024-05-06T07:08:09.123+00:00", "tenant": "default", "query": "...",
     "mode": "hybrid", "results": ["<id of the best>", ...]}

It holds what people asked, so the file is readable by its owner only, and
nothing but the question and the ids of what was found is kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Full, Queue
from typing import TextIO

from indexing.errors import SettingsError
from indexing.records import Mode
from retrieval.records import SearchRequest, SearchResponse

logger = logging.getLogger(__name__)

_WAITING = 10_000
_OLD_FILES = 4
_GRACE_S = 5.0


class QueryLog:
    """Appends searches to a file from a thread of its own.

    :meth:`record` never waits: where the disk cannot keep up, lines are
    dropped and counted, and searches go on.  At ``max_bytes`` the file becomes
    ``NAME.1``, and four old ones are kept.

    Raises:
        SettingsError: the file cannot be written.
    """

    def __init__(self, path: Path, default_mode: Mode, *, max_bytes: int = 64_000_000) -> None:
        self._mode = default_mode
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _PrivateFile(path, max_bytes)
        except OSError as error:
            raise SettingsError(f"serving.query_log: {path} cannot be written: {error}") from error
        self._lines: Queue[str | None] = Queue(_WAITING)
        self._overflowed = 0
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._write, name="winnow-query-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written because the disk was too slow or full."""
        return self._overflowed + self._file.failed

    def record(self, request: SearchRequest, response: SearchResponse) -> None:
        """Queue one line; costs microseconds and raises nothing."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "tenant": request.tenant,
            "query": request.query,
            "mode": request.mode or self._mode,
            "results": [result.id for result in response.results],
        }
        try:
            self._lines.put_nowait(json.dumps(line, ensure_ascii=False))
        except Full:
            self._overflowed += 1
            if self._overflowed == 1:
                logger.warning("query_log_full: lines are dropped until the disk keeps up")

    async def close(self) -> None:
        """Write what is queued and close the file; gives up on a disk that hangs."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        with suppress(Full):
            self._lines.put(None, timeout=_GRACE_S)
        self._thread.join(_GRACE_S)
        if self.dropped:
            logger.warning("query_log_dropped lines=%d", self.dropped)

    def _write(self) -> None:
        while (text := self._lines.get()) is not None:
            self._file.handle(logging.LogRecord(__name__, logging.INFO, "", 0, text, None, None))
        with suppress(OSError):  # a full disk; the lines were counted when they failed
            self._file.close()


class _PrivateFile(RotatingFileHandler):
    """A rotating file of mode 600 whose failures are counted, and said once."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.failed = 0
        super().__init__(path, maxBytes=max_bytes, backupCount=_OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIO:  # type: ignore[override]
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="replace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        self.failed += 1
        if self.failed == 1:
            logger.error("query_log_failed file=%s reason=%s", self.baseFilename, sys.exc_info()[1])
