"""Calls to a server that may be away for a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from indexing.errors import CollectionUnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is tried, and the pause before the second try; each later one is twice as long."""

    attempts: int = 7
    pause_s: float = 0.25

    async def call(self, what: Callable[[], Awaitable[T]]) -> T:
        """Return what ``what`` returns, which must be safe to repeat.

        Raises:
            CollectionUnavailableError: nobody answered any of the attempts.
        """
        for attempt in range(1, self.attempts):
            try:
                return await what()
            except CollectionUnavailableError as error:
                pause_s = self.pause_s * 2 ** (attempt - 1)
                logger.warning("attempt %d of %d failed: %s", attempt, self.attempts, error)
                await asyncio.sleep(pause_s)
        return await what()
