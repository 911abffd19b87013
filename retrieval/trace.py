"""The receipt in the making: stages with wall time and what they did."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

from retrieval.records import Receipt, Stage
from retrieval.spans import record_stage


class Trace:
    """Collects stages in order; a stage that ran again adds its time and keeps its last details."""

    def __init__(self) -> None:
        self.degraded: list[str] = []
        self._stages: dict[str, Stage] = {}

    def add(self, name: str, began: float, details: Mapping[str, object]) -> None:
        """Record a stage that began at ``perf_counter()`` value ``began`` and ends now."""
        ms = (perf_counter() - began) * 1000
        before = self._stages.get(name)
        if before is not None:
            ms += before.ms
        self._stages[name] = Stage(name, ms, details)
        record_stage(name, began, details)

    def receipt(self) -> Receipt:
        """Return what was recorded so far."""
        return Receipt(tuple(self._stages.values()), tuple(self.degraded))
