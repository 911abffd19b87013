"""Ingests that kill themselves."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from indexing.ingest import add_paths
from indexing.jobs import run_jobs
from indexing.settings import Settings
from tests.fakes.index_parts import fake_index, fake_settings


def settings_for(home: Path) -> Settings:
    return fake_settings(home, read_workers=0, batch_sentences=16)


def dies_at(point: str | None, hit: int) -> Callable[[str], None]:
    """A checkpoint that kills its process at the ``hit``-th passing of ``point``."""
    seen: Counter[str] = Counter()

    def checkpoint(name: str) -> None:
        seen[name] += 1
        if name == point and seen[name] == hit:
            os.kill(os.getpid(), signal.SIGKILL)

    return checkpoint


def ingest(home: Path, corpus: Path, point: str | None, hit: int) -> None:
    """The child: dies at the ``hit``-th passing of ``point``, else ends with 0."""
    with fake_index(settings_for(home), checkpoint=dies_at(point, hit)) as index:
        add_paths(index, [corpus], prune=True)
    os._exit(0)


def work_off(settings: Settings, point: str, hit: int) -> None:
    """The same for queued jobs."""
    with fake_index(settings, checkpoint=dies_at(point, hit)) as index:
        run_jobs(index)
    os._exit(0)
