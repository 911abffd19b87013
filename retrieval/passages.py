"""From fused hits to passages: live windows, merged where they meet, then results.

A hit is an id and its scores.  What it says and where comes from the catalogue
alone, so no quote can differ from the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from indexing.identity import split_point_id
from retrieval.fusion import Fused
from retrieval.records import Ranks, Scores, SearchResult
from retrieval.windows import Passage, merge_windows

if TYPE_CHECKING:
    from indexing.catalog.records import Window

# A merged passage holds at most this many plain windows: with the default
# size of 2 that is 15 sentences, about what a 512-token reranker reads.
_MAX_WINDOWS = 3

# Share of the best hit's fused score that another hit of its passage must
# reach to be highlighted: with rank fusion, found by both sides or near the top.
_HIGHLIGHT_SHARE = 0.5
_ordinal = attrgetter("ordinal")


class Standing(NamedTuple):
    """A passage with its best hit's fused rank and, once reranked, its logit, score and new rank.

    A tuple: every search makes ten, or as many as were asked for.
    """

    passage: Passage
    rank: int
    logit: float | None = None
    rerank_score: float | None = None
    rerank_rank: int | None = None

    @property
    def id(self) -> str:
        return self.passage.lead.id

    @property
    def text(self) -> str:
        return self.passage.text

    def result(self) -> SearchResult:
        """Return the passage as a caller sees it; its score is the last stage's."""
        passage, hit, window = self.passage, self.passage.lead, self.passage.window
        start, end = window.span
        matched = self._matched()
        return SearchResult(
            id=hit.id,
            doc_id=window.doc_id,
            source=window.source,
            title=window.title,
            section=window.section,
            page=window.page,
            text=window.sentence,
            window=passage.text,
            start=start,
            end=end,
            score=hit.score if self.rerank_score is None else self.rerank_score,
            ranks=Ranks(hit.ranks[0], hit.ranks[1], self.rank, self.rerank_rank),
            scores=Scores(hit.scores[0], hit.scores[1], hit.score, self.logit),
            window_start=passage.start,
            window_end=passage.end,
            highlights=tuple([one.span for one in matched]),
            highlight_pages=tuple([one.page for one in matched]),
            sources=window.sources,
            version=window.version,
            ordinal=window.ordinal,
            metadata=dict(window.metadata),
            indexed_at=window.indexed_at,
            ingested_by=window.ingested_by,
        )

    def _matched(self) -> Sequence[Window]:
        """Windows of the hits worth a highlight, in reading order.

        The dense side returns its nearest sentences however far they are: in a
        small collection that is every sentence there is.
        """
        hits, windows = self.passage.hits, self.passage.windows
        if len(hits) == 1:
            return windows
        least = _HIGHLIGHT_SHARE * hits[0].score
        found = zip(hits, windows, strict=True)
        worth = [window for place, (hit, window) in enumerate(found) if place == 0 or hit.score >= least]
        return sorted(worth, key=_ordinal)


class Assembly:
    """Fused hits taken in rank order with their windows, until enough passages stand."""

    def __init__(self, size: int, wanted: int) -> None:
        self._size = size
        self._wanted = wanted
        self._hits: list[Fused] = []
        self._windows: list[Window | None] = []
        self._not_live = 0
        self._passages: list[Passage] = []
        self._seen: dict[str, list[int]] = {}

    @property
    def fetch_size(self) -> int:
        """Neighbours to fetch: one more than shown, so that touching windows can join."""
        return self._size + 1 if self._size else 0

    @property
    def missing(self) -> int:
        """Passages still wanted."""
        return max(self._wanted - len(self._passages), 0)

    def batch(self, fused: Sequence[Fused], position: int) -> list[Fused]:
        """Return the hits from ``position`` on that bring the passages still missing, if all are live.

        Ids say which hits share a passage: one document, and windows that meet.
        """
        missing = self.missing
        batch: list[Fused] = []
        while missing and position + len(batch) < len(fused):
            hit = fused[position + len(batch)]
            missing -= self._stands_alone(hit.id)
            batch.append(hit)
        return batch

    def _stands_alone(self, identity: str) -> bool:
        prefix, ordinal = split_point_id(identity)
        seen = self._seen.get(prefix)
        if seen is None:
            self._seen[prefix] = [ordinal]
            return True
        alone = all(abs(ordinal - other) > 2 * self._size + 1 for other in seen)
        seen.append(ordinal)
        return alone

    def add(self, hits: Sequence[Fused], windows: Sequence[Window | None]) -> None:
        """Take the next hits; a window is None when its version of the document is not live."""
        self._not_live += sum(window is None for window in windows)
        self._hits.extend(hits)
        self._windows.extend(windows)
        self._passages = merge_windows(
            self._hits,
            self._windows,
            size=self._size,
            top_n=self._wanted,
            max_sentences=_MAX_WINDOWS * (2 * self._size + 1),
        )

    def standing(self) -> list[Standing]:
        """Return the passages, best hit first."""
        ranks = {hit.id: rank for rank, hit in enumerate(self._hits, start=1)}
        return [Standing(passage, ranks[passage.lead.id]) for passage in self._passages]

    def counts(self) -> dict[str, object]:
        """Return what the receipt says: hits looked at, merged into others, dropped and why."""
        return {
            "considered": len(self._hits),
            "passages": len(self._passages),
            "merged": sum(len(passage.hits) - 1 for passage in self._passages),
            "dropped_not_live": self._not_live,
        }
