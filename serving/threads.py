"""Synchronous calls (catalogue, files) off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(...)``, run in a thread that a cancelled caller leaves to itself.

    For reads: nobody is hurt when one ends later than its request.
    """
    return await asyncio.to_thread(function, *args, **kwargs)


async def to_the_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(...)``, run in a thread that even a cancelled caller waits for.

    For writes: what tidies up after a cancelled upload must not run beside
    the write it tidies up after.
    """
    loop = asyncio.get_running_loop()
    running = loop.run_in_executor(None, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # looked at, so that the loop does not report it as forgotten
        raise
