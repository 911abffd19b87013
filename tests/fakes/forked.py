"""Processes of a test that kill themselves, forked from a server without threads.

A fork of the test process itself would copy whatever locks its threads (model
runtimes, event loops) hold at that moment; the fork server has none.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess

# The server of a whole test run is started once, by whichever test comes first: what it has not
# imported for them all, every child of the others imports again.
_PRELOADED = (
    "tests.fakes.killed_ingest",
    "tests.fakes.label_teacher",
    "tests.fakes.moving_index",
    "tests.fakes.two_generations",
    "anyio._backends._asyncio",
    "indexing.readers.markdown",
    "indexing.readers.text",
)


def forked(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start ``target`` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process
