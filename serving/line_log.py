"""Files of JSON lines that never hold a request up: queries, audit."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Full, Queue
from typing import TextIO

from indexing.errors import SettingsError

logger = logging.getLogger(__name__)

_WAITING = 10_000
_OLD_FILES = 4
_GRACE_S = 5.0


class LineLog:
    """Appends objects to a file, one JSON line each, from a thread of its own.

    :meth:`write` never waits: where the disk cannot keep up, lines are
    dropped and counted, and requests go on.  At ``max_bytes`` the file becomes
    ``NAME.1``, and four old ones are kept.

    Args:
        setting: name of the setting below ``serving`` that holds the path.

    Raises:
        SettingsError: the file cannot be written.
    """

    def __init__(self, path: Path, setting: str, *, max_bytes: int = 64_000_000) -> None:
        self._setting = setting
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _PrivateFile(path, setting, max_bytes)
        except OSError as error:
            raise SettingsError(f"serving.{setting}: {path} cannot be written: {error}") from error
        self._lines: Queue[str | None] = Queue(_WAITING)
        self._overflowed = 0
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name=f"winnow-{setting.replace('_', '-')}", daemon=True
        )
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written because the disk was too slow or full."""
        return self._overflowed + self._file.failed

    def write(self, line: Mapping[str, object]) -> None:
        """Queue one line; costs microseconds and raises nothing."""
        try:
            self._lines.put_nowait(json.dumps(line, ensure_ascii=False))
        except Full:
            self._overflowed += 1
            if self._overflowed == 1:
                logger.warning("%s_full: lines are dropped until the disk keeps up", self._setting)

    async def close(self) -> None:
        """Write what is queued and close the file; gives up on a disk that hangs."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Do what :meth:`close` does, where there is no event loop."""
        with suppress(Full):
            self._lines.put(None, timeout=_GRACE_S)
        self._thread.join(_GRACE_S)
        if self.dropped:
            logger.warning("%s_dropped lines=%d", self._setting, self.dropped)

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            self._file.handle(logging.LogRecord(__name__, logging.INFO, "", 0, text, None, None))
        with suppress(OSError):  # a full disk; the lines were counted when they failed
            self._file.close()


class _PrivateFile(RotatingFileHandler):
    """A rotating file of mode 600 whose failures are counted, and said once."""

    def __init__(self, path: Path, setting: str, max_bytes: int) -> None:
        self.failed = 0
        self._setting = setting
        super().__init__(path, maxBytes=max_bytes, backupCount=_OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIO:  # type: ignore[override]
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="replace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        self.failed += 1
        if self.failed == 1:
            logger.error("%s_failed file=%s reason=%s", self._setting, self.baseFilename, sys.exc_info()[1])
