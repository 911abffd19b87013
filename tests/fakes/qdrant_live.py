"""The service on a real socket over the embedded engine, for Qdrant's official client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn
from qdrant_client import AsyncQdrantClient, models

from indexing.collection import open_collection
from indexing.collection.memory import open_memory
from indexing.collection.qdrant import QdrantCollection
from serving.app import create_app
from tests.fakes.listening import listening
from tests.fakes.points import SPEC, embedding, point, settings_in
from tests.fakes.service import make_harness

PATIENCE_S = 30.0
NAME = "winnow"
COUNT = 60


@dataclass
class Live:
    """The service over the embedded engine, and the same points in the client's local mode."""

    url: str
    client: AsyncQdrantClient
    local: AsyncQdrantClient
    memory: QdrantCollection


@asynccontextmanager
async def serving(folder: Path, **settings: object) -> AsyncIterator[Live]:
    harness = await make_harness(folder / "home", port=0, **settings)
    collection = await open_collection(settings_in(folder / "home"), SPEC)
    memory = await open_memory(settings_in(folder / "home").collection, SPEC)
    rng = np.random.default_rng(20_260)
    points = [point(number, rng, dense=number % 11 != 0) for number in range(COUNT)]
    for home in (collection, memory):
        await home.upsert(points)
    harness.service.collection = collection
    app = create_app(harness.settings, harness.service)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none"))
    try:
        async with listening(server) as there:
            url = f"http://127.0.0.1:{there.port}/qdrant"
            client = AsyncQdrantClient(url=url, timeout=int(PATIENCE_S), check_compatibility=False)
            try:
                yield Live(url, client, memory._client, memory)
            finally:
                await client.close()
    finally:
        await collection.close()
        await memory.close()
        await harness.close()


def vectors(seed: int) -> tuple[list[float], models.SparseVector]:
    """A dense and a sparse query."""
    made = embedding(np.random.default_rng(seed))
    assert made.dense is not None
    sparse = models.SparseVector(indices=list(made.sparse.indices), values=list(made.sparse.values))
    return made.dense.tolist(), sparse
