"""A small index with the real engine, for tests that copy it; the encoders are stand-ins."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexing.catalog import open_catalog
from indexing.ingest import TextItem, add_texts
from indexing.records import Extraction
from indexing.session import Index
from indexing.settings import CollectionSettings, EncoderSettings, IndexingSettings, Settings
from indexing.snapshots.create import create_snapshot
from indexing.snapshots.restore import restore_snapshot
from indexing.transfer.patience import Patience
from indexing.transfer.push import PushOptions, PushReport, push
from indexing.transfer.stream import Pace
from tests.fakes.index_parts import FakeEncoders

TENANTS = ("default", "acme")
QUICK = Patience(attempts=8, pause_s=0.01)


def settings_in(home: Path) -> Settings:
    return Settings(
        home=home,
        collection=CollectionSettings(idle_exit_s=3.0, optimize_after=0, timeout_s=60.0, prefer_grpc=False),
        indexing=IndexingSettings(read_workers=0, lock_timeout_s=60.0),
    )


@contextmanager
def opened(home: Path, settings: Settings | None = None) -> Iterator[Index]:
    chosen = settings or settings_in(home)
    loader = ("tests.fakes.worker_encoders", "load_fake")
    with Index(chosen, open_catalog(chosen), encoders=FakeEncoders(), loader=loader) as index:
        yield index


def item(tenant: str, number: int, edition: int = 1) -> TextItem:
    """Document ``number`` of a tenant, some sentences; another edition has another text."""
    text = " ".join(
        f"Sentence {place} of report {number} for {tenant} says word{(number * place) % 17} in {edition}."
        for place in range(6)
    )
    return TextItem(
        f"mem:{number}", Extraction(text, title=f"Report {number}", doc_id=f"d{number}"), "text/plain"
    )


def fill(index: Index, documents: int = 20) -> None:
    """Six sentences a document, the same documents for each tenant."""
    for tenant in TENANTS:
        add_texts(index, [item(tenant, number) for number in range(documents)], tenant=tenant)


def push_small(index: Index, url: str, **chosen: object) -> PushReport:
    """A push in small batches, so that a small index takes many requests."""
    return push(index, url, PushOptions(**{"queries": 12, "pace": Pace(16, 3, QUICK), **chosen}))


def push_and_die(home: Path, url: str, after: int) -> None:
    """The child: kills itself when ``after`` requests have been acknowledged."""
    seen = 0

    class Killer:
        def advance(self, steps: int) -> None:
            nonlocal seen
            seen += steps > 0
            if seen >= after:
                os.kill(os.getpid(), signal.SIGKILL)

        def stage(self, name: str, total: int, unit: str) -> None: ...

        def committed(self) -> None: ...

        def message(self, text: str) -> None: ...

    with opened(home) as index:
        push(index, url, PushOptions(pace=Pace(16, 3, QUICK)), Killer())
    os._exit(0)


def with_workers(home: Path, workers: int, notes: Path | None = None, **indexing: object) -> Settings:
    """Settings whose batches are small, so that a small index takes many."""
    chosen = {"read_workers": 0, "lock_timeout_s": 60.0, "batch_sentences": 16, "workers": workers}
    return settings_in(home).model_copy(
        update={
            "indexing": IndexingSettings(**{**chosen, **indexing}),
            "encoders": EncoderSettings(dense=str(notes or "")),
        }
    )


def fill_and_die(home: Path, notes: Path, hit: int) -> None:
    """The child: indexes with two workers and kills itself when a batch is noted for the ``hit``-th time."""
    seen = 0

    def checkpoint(name: str) -> None:
        nonlocal seen
        seen += name == "recorded"
        if seen == hit:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(home, with_workers(home, 2, notes)) as index:
        index.checkpoint = checkpoint
        add_texts(index, [item("acme", number) for number in range(30)], tenant="acme")
    os._exit(0)


def snapshot_and_die(home: Path, folder: Path, point: str) -> None:
    """The child: kills itself at a checkpoint of ``create_snapshot``."""

    def checkpoint(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(home) as index:
        index.checkpoint = checkpoint
        create_snapshot(index, folder, queries=4)
    os._exit(0)


def restore_and_die(folder: Path, home: Path, call: int) -> None:
    """The child: kills itself instead of the ``call``-th rename into place."""
    calls = 0
    rename = os.rename

    def counted(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.rename = counted
    restore_snapshot(folder, settings_in(home))
    os._exit(0)
