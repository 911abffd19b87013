"""From search results to the passages of a prompt: one way, for the service and for its benchmark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from retrieval.generation.prompts.context import ContextPassage
from retrieval.generation.prompts.sections import section_reach, widen
from retrieval.generation.protocol import PassageUnit
from retrieval.records import SearchResult

if TYPE_CHECKING:
    from indexing.catalog.records import Window

# The catalogue's ``windows``, called off the event loop: tenant, point ids, sentences to each side.
ReadWindows = Callable[[str, Sequence[str], int], Awaitable[Sequence["Window | None"]]]


async def gather_passages(
    results: Sequence[SearchResult], unit: PassageUnit, *, tenant: str, read: ReadWindows
) -> list[ContextPassage]:
    """Return what a prompt shows of the results, best first, no sentence twice.

    Args:
        results: of one search of the tenant, best first.
        unit: "sections" shows fixed runs of sentences, which other questions
            share; "windows" what the search found.
        read: gives the sentences around a point.

    Raises:
        CatalogError: the documents cannot be read.
    """
    if unit == "windows":
        return [ContextPassage.of(result, rank) for rank, result in enumerate(results, start=1)]
    points = [one.id for one in results]
    windows = await read(tenant, points, section_reach()) if points else []
    return widen(results, windows)
