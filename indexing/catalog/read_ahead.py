"""Read what windows are made of before the searches after the first one need it.

A search reads a dozen blocks from all over the catalogue: where the system does
not hold the file in memory, one by one, that took nearly as long as the rest of
the search.  So the first read of windows starts a scan in a thread.  It goes
through the database, whose connection keeps what it read.  Reading the file
beside it would be quicker and is not allowed: closing it would drop SQLite's
locks on it (POSIX gives locks to the process, not to the descriptor).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor

logger = logging.getLogger(__name__)

BUDGET = 256 * 2**20
"""Bytes of rows that are read at most; of a catalogue beyond it the first parts are."""

# What a window needs, the smallest first; each row tells about how many bytes it has.
_SCANS = (
    "SELECT 16 FROM blocks ORDER BY document, first_ordinal",
    "SELECT 40 FROM documents INDEXED BY documents_points",
    "SELECT length(uri) FROM source_documents INDEXED BY source_documents_document",
    "SELECT 200 + length(metadata) FROM documents NOT INDEXED",
    "SELECT length(text) FROM blocks NOT INDEXED",
)
_ROWS = 500


class ReadAhead:
    """One scan in a thread, which :meth:`stop` ends.

    Args:
        engine: the connection that is read through goes back to its pool.
        budget: bytes.
    """

    def __init__(self, engine: Engine, budget: int = BUDGET) -> None:
        self._engine = engine
        self._budget = budget
        self._stopped = threading.Event()
        self.read = 0
        self._thread = threading.Thread(target=self._run, name="catalog-read-ahead", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until everything was read."""
        self._thread.join(timeout_s)

    def stop(self) -> None:
        """End the scan: it looks after every few hundred rows."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with closing(self._engine.raw_connection()) as connection:
                self._scan(connection.cursor())
            logger.debug("%.1f MB of the catalogue read ahead", self.read / 2**20)
        except (sqlite3.Error, SQLAlchemyError) as error:
            logger.debug("the catalogue was not read ahead: %s", error)

    def _scan(self, cursor: DBAPICursor) -> None:
        for scan in _SCANS:
            cursor.execute(scan)
            while rows := cursor.fetchmany(_ROWS):
                self.read += sum(size for (size,) in rows)
                if self._stopped.is_set() or self.read >= self._budget:
                    return
