"""The opt-in log of questions: JSON lines from which a reranker can be taught.

Off unless ``serving.query_log`` names a file.  One line a search::

    {"time": "2024-05-06T07:08:09.123+00:00", "tenant": "default", "query": "...",
     "mode": "hybrid", "results": ["<id of the best>", ...]}

It holds what people asked, so the file is readable by its owner only, and
nothing but the question and the ids of what was found is kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from indexing.records import Mode
from retrieval.records import SearchRequest, SearchResponse
from serving.line_log import LineLog


class QueryLog(LineLog):
    """Appends searches to a file.

    Raises:
        SettingsError: the file cannot be written.
    """

    def __init__(self, path: Path, default_mode: Mode, *, max_bytes: int = 64_000_000) -> None:
        super().__init__(path, "query_log", max_bytes=max_bytes)
        self._mode = default_mode

    def record(self, request: SearchRequest, response: SearchResponse) -> None:
        """Queue one line; costs microseconds and raises nothing."""
        self.write(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "tenant": request.tenant,
                "query": request.query,
                "mode": request.mode or self._mode,
                "results": [result.id for result in response.results],
            }
        )
