"""What an answer leaves behind in the metrics and in the access line."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from indexing.errors import GenerationError
from serving.answering.records import Event, Written
from serving.context import note

if TYPE_CHECKING:
    from serving.state import Service

# Measured by the search itself.
_SEARCHED = frozenset({"embed", "retrieve", "fuse", "windows", "rerank", "cap"})


async def counted(events: AsyncGenerator[Event], service: Service) -> AsyncGenerator[Event]:
    """Yield the events; a model that failed is counted where no sentences are quoted instead, too."""
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                yield event
    except GenerationError:
        service.metrics.generation_failures.inc()
        raise


async def last_of(first: Event, events: AsyncGenerator[Event], service: Service) -> Written:
    """Return the written answer, the events before it only measured."""
    event = first
    async with contextlib.aclosing(events):
        while not isinstance(event, Written):
            event = await anext(events)
    measure(service, event)
    return event


def measure(service: Service, written: Written) -> None:
    """Count a finished answer: its kind, its stages, its tokens."""
    for stage in written.receipt.stages:
        if stage.name not in _SEARCHED:
            service.metrics.stages.labels(stage.name).observe(stage.ms / 1000)
    service.metrics.answers.labels(written.answer.kind).inc()
    if any(reason.startswith("generate:") for reason in written.receipt.degraded):
        service.metrics.generation_failures.inc()
    if written.usage is not None:
        usage = written.usage
        service.metrics.prompt_tokens.inc(usage.prompt_tokens)
        service.metrics.cached_tokens.inc(usage.cached_tokens or 0)
        service.metrics.completion_tokens.inc(usage.completion_tokens)
        if usage.first_token_ms is not None:
            service.metrics.first_token.observe(usage.first_token_ms / 1000)
    note("citations", len(written.answer.citations))
