"""Indexes whose encoders are told apart by name, for migrations in every home."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import indexing.collection
import indexing.encoders
from indexing.catalog import open_catalog
from indexing.collection.protocol import Collection, CollectionSpec
from indexing.ingest import TextItem, add_texts
from indexing.migration.backfill import start
from indexing.migration.change import drop, switch
from indexing.records import Extraction
from indexing.session import Index
from indexing.settings import EncoderSettings, Settings, load_settings
from tests.fakes.index_parts import DIMENSIONS, FakeEncoders, FileCollection
from tests.fakes.killed_ingest import dies_at

OLD, NEW = EncoderSettings(dense="old"), EncoderSettings(dense="new")


class NamedEncoders(FakeEncoders):
    """Dense vectors that depend on the encoder's name too."""

    def _dense(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{self.name} {text}".encode()).digest()[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def with_average_length(self, average: float) -> NamedEncoders:
        return NamedEncoders(average, self.name)


def load_named(settings: EncoderSettings, *, average_length: float | None = None) -> NamedEncoders:
    return NamedEncoders(average_length or 1.0, settings.dense)


async def open_file(settings: Settings, spec: CollectionSpec | None) -> Collection:
    path = settings.home / f"{settings.collection.name}.points"
    return FileCollection(path, spec or CollectionSpec(DIMENSIONS, "", "", True))


async def drop_file(settings: Settings) -> None:
    for suffix in ("", "-wal", "-shm"):
        (settings.home / f"{settings.collection.name}.points{suffix}").unlink(missing_ok=True)


def local_server() -> Any:
    """One local client that stands for a server: closing a connection closes nothing."""
    from qdrant_client import AsyncQdrantClient

    class SharedClient(AsyncQdrantClient):
        async def info(self) -> SimpleNamespace:
            return SimpleNamespace(version="1.20.0")

        async def close(self, **_: object) -> None:
            pass

    return SharedClient(":memory:")


class Patched:
    """Puts the fakes where the index looks them up; ``home`` "file" keeps points in SQLite."""

    def __init__(self, patch: pytest.MonkeyPatch, home: str) -> None:
        self.home = "embedded" if home == "file" else home
        patch.setattr(indexing.encoders, "load_encoders", load_named)
        patch.setattr("indexing.migration.backfill.PAUSE_S", 0.0)
        if home == "file":
            patch.setattr(indexing.collection, "open_collection", open_file)
            patch.setattr(indexing.collection, "drop_collection", drop_file)
        if home == "server":
            self.client = local_server()
            patch.setattr("indexing.collection.server.make_client", lambda _: self.client)
            patch.setattr("indexing.collection.alias.make_client", lambda _: self.client)

    def settings(self, folder: Path, encoders: EncoderSettings = OLD) -> Settings:
        return load_settings(
            home=folder,
            collection={"home": self.home, "idle_exit_s": 1.0},
            encoders=encoders.model_dump(),
            indexing={"lock_timeout_s": 20.0, "read_workers": 0, "batch_sentences": 16},
        )


def item(name: str, text: str) -> TextItem:
    return TextItem(f"document:{name}", Extraction(text, title=name, doc_id=name), "text/plain")


def corpus(count: int, start_at: int = 0) -> list[TextItem]:
    return [
        item(
            f"doc{number:03}",
            f"River {number} flows. Bank {number % 7} is near. {'Word ' * (number % 5)}end.",
        )
        for number in range(start_at, start_at + count)
    ]


# ── processes that kill themselves ─────────────────────────────────────────


def in_child(home: str, folder: Path, step: str, point: str | None, hit: int) -> None:
    """The child: one step of a migration; dies at the ``hit``-th passing of ``point``, else ends with 0."""
    with pytest.MonkeyPatch.context() as patch:
        settings = Patched(patch, home).settings(folder, NEW if step == "drop" else OLD)
        with Index(settings, open_catalog(settings), checkpoint=dies_at(point, hit)) as index:
            run_step(index, step)
    os._exit(0)


def run_step(index: Index, step: str) -> None:
    if step == "start":
        start(index, NEW)
    elif step == "write":
        add_texts(index, [item("doc001", "The river is frozen now."), *corpus(3, 100)])
    elif step == "drift":  # longer sentences: every sparse vector is made again
        add_texts(index, [item(f"long{n}", "many words " * 30 + f"{n}.") for n in range(3)])
    elif step == "switch":
        switch(index, unchecked=True)
    elif step == "undo":
        switch(index, back=True)
    else:
        drop(index, wait_s=5.0)
