"""Encoders in processes of their own: one per core here, or as Ray actors on many machines.

Only encoding is spread out. Reading the catalogue, writing points and noting
them stay with the one writer, in the order of one worker, so that ids, vectors,
catalogue and what a killed run leaves behind are the same.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from indexing.encoders.protocols import EncoderPair
from indexing.encoders.runtime_types import available_cores
from indexing.errors import EncoderError
from indexing.ingest.encoding import Encoding, Pool, Setup, embed, load
from indexing.records import Embedding
from indexing.settings import EncoderSettings

# Batches handed out beyond one per worker: a worker that is done finds the next one waiting.
AHEAD = 2
_POLL_S = 0.5


def share_of_threads(settings: EncoderSettings, workers: int) -> EncoderSettings:
    """The same settings with a worker's part of the threads, at least one."""
    total = settings.threads or available_cores()
    return settings.model_copy(update={"threads": max(1, total // workers)})


class ProcessPool:
    """Workers on this machine; they end with the process that started them, however it ends."""

    def __init__(self, setup: Setup, count: int) -> None:
        self.count = count
        # Not forked: threads of model runtimes and event loops do not survive a fork.
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(setup, os.getpid()),
        )

    def submit(self, texts: Sequence[str]) -> Encoding:
        try:
            return _Local(self._pool.submit(_embed_here, list(texts)))
        except BrokenProcessPool as error:
            raise _ended() from error

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Local:
    def __init__(self, future: Future[list[Embedding]]) -> None:
        self._future = future

    def result(self) -> list[Embedding]:
        try:
            return self._future.result()
        except BrokenProcessPool as error:
            raise _ended() from error


def _ended() -> EncoderError:
    return EncoderError(
        "an encoder process ended or did not load its models; run it again to go on, with fewer --workers "
        "if memory was short"
    )


_encoders: EncoderPair | None = None


def _start(setup: Setup, parent: int) -> None:
    """First thing in a worker: watch the parent, load the models."""
    global _encoders
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    _encoders = load(setup)


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone: a killed parent closes no queue."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)


def _embed_here(texts: Sequence[str]) -> list[Embedding]:
    if _encoders is None:
        raise EncoderError("this worker has no encoders")
    return embed(_encoders, texts)


def open_pool(setup: Setup, workers: int, ray: str | None) -> Pool | None:
    """The workers asked for; None: the writer's own process encodes.

    Raises:
        MissingDependencyError: Ray is not installed.
        EncoderError: the Ray cluster does not answer.
    """
    if ray is not None:
        from indexing.ingest.ray_workers import RayPool

        return RayPool(setup, workers, ray)
    if workers <= 1:
        return None
    spread = Setup(setup.loader, share_of_threads(setup.encoders, workers), setup.average)
    return ProcessPool(spread, workers)


def in_order(
    pool: Pool, batches: Iterable[tuple[Any, Sequence[str]]]
) -> Iterator[tuple[Any, list[Embedding]]]:
    """Yield each batch with the embeddings of its texts, in the order given.

    At most ``pool.count + AHEAD`` batches are under way, so memory stays bounded.
    """
    under_way: deque[tuple[Any, Encoding]] = deque()
    for batch, texts in batches:
        under_way.append((batch, pool.submit(texts)))
        if len(under_way) >= pool.count + AHEAD:
            oldest, encoding = under_way.popleft()
            yield oldest, encoding.result()
    while under_way:
        oldest, encoding = under_way.popleft()
        yield oldest, encoding.result()
