"""At most so many passages of one source before those of the others.

Whoever controls one source (a site, an upload, a feed) can fill it with
passages that copy a question's words and so take every place at the top
("knowledge poisoning": Zou et al., "PoisonedRAG", USENIX Security 2025).  With
a cap, what one source may take is bounded whatever it says.  Passages over the
cap are moved behind the others and not left out: where only one source answers,
its passages still come, in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from retrieval.passages import Standing
    from retrieval.plan import Plan
    from retrieval.trace import Trace

# Before the second stage a source may bring this many times its cap: which of them stand is for the
# reranker to say.
POOL = 3


def source_of(passage: Standing, field: str | None) -> str:
    """Return who a passage is from: a metadata field, else the site of a URL, else the source itself."""
    if field is not None:
        metadata = passage.passage.window.metadata
        if field in metadata:
            return f"{field}={metadata[field]}"
    uri = passage.passage.window.source
    if uri.startswith(("http://", "https://")):
        return urlsplit(uri).hostname or uri
    return uri


def capped(passages: Sequence[Standing], cap: int, field: str | None) -> tuple[list[Standing], int]:
    """Return the passages with those over the cap behind, each part in its order, and how many those are.

    A cap of 0 is none.

    >>> capped([], 2, None)
    ([], 0)
    """
    if not cap:
        return list(passages), 0
    taken: Counter[str] = Counter()
    first: list[Standing] = []
    over: list[Standing] = []
    for passage in passages:
        source = source_of(passage, field)
        taken[source] += 1
        (first if taken[source] <= cap else over).append(passage)
    return first + over, len(over)


def cap_sources(plan: Plan, passages: list[Standing], trace: Trace) -> list[Standing]:
    """Return the ranked passages under the request's cap, and say so in the receipt."""
    if not plan.per_source_cap:
        return passages
    began = perf_counter()
    ordered, over = capped(passages, plan.per_source_cap, plan.source_field)
    trace.add("cap", began, {"per_source": plan.per_source_cap, "moved": over})
    return ordered
