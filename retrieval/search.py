"""Hybrid search over one collection: embed, retrieve, fuse, build windows, rerank."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

from indexing.collection.protocol import Collection
from indexing.errors import DeadlineError, QueryError
from indexing.records import Embedding, Mode, SideHits
from indexing.settings import RerankSettings, RetrievalSettings, Settings
from retrieval.confidence import FACTORS, confidence_weights
from retrieval.credits import literal_credits, readable_words
from retrieval.fusion import Fused, Fusion, fuse, side_weights
from retrieval.passages import Assembly, Standing
from retrieval.plan import MAX_TOP_K, Plan, make_plan
from retrieval.records import Branch, SearchRequest, SearchResponse
from retrieval.second_stage import Rerank, rerank_passages
from retrieval.source_cap import POOL, cap_sources, capped
from retrieval.stored_tokens import StoredTokens
from retrieval.trace import Trace
from retrieval.window_reads import WindowReader, WindowSource

log = logging.getLogger(__name__)

EmbedQuery = Callable[[str], Awaitable[Embedding]]
# How far a fetch grows when hits were dropped or merged, and how often.
_GROWTH = 3
_MAX_FETCHES = 3
# Lowest scores in weighted fusion: a cosine has none, a sparse score of 0 is no word in common.
_FLOORS = (None, 0.0)


@dataclass(frozen=True, slots=True)
class _Arm:
    """One text that is searched for: the query itself, or a branch."""

    embedding: Embedding
    known: float
    weights: tuple[float, float]
    mode: Mode
    why: str


class Searcher:
    """Searches one collection; safe to share between tasks of one event loop.

    Args:
        collection: the engine.
        catalog: gives the windows.
        embed_query: runs the encoders off the event loop.
        retrieval: defaults of a request.
        reranking: bounds of the second stage.
        coverage: share of a text's letters the dense encoder knows; None
            counts a query with a dense vector as fully known.
        min_coverage: texts below it were indexed without a dense vector.
        rerank: runs the reranker off the event loop; None: there is none.
        stored_tokens: compares token vectors in the collection instead, where it can.
        has_reranker: asked at each search, for a reranker that may come and go.
        embed_document: runs the encoders on the document side, for branches
            that ask for it.
        generation: the collection's number, for the receipt.
        close: releases what the caller opened for this searcher.
        admit: a place to work, held from the embedding to the windows; where
            there is none it raises.
    """

    def __init__(
        self,
        collection: Collection,
        catalog: WindowSource,
        embed_query: EmbedQuery,
        *,
        retrieval: RetrievalSettings,
        reranking: RerankSettings,
        coverage: Callable[[str], float] | None = None,
        min_coverage: float = 0.5,
        rerank: Rerank | None = None,
        stored_tokens: StoredTokens | None = None,
        has_reranker: Callable[[], bool] | None = None,
        embed_document: EmbedQuery | None = None,
        generation: int = 1,
        close: Callable[[], Awaitable[None]] | None = None,
        admit: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self.collection = collection
        self.catalog = catalog
        self._windows = WindowReader(catalog)
        self._embed_query = embed_query
        self._retrieval = retrieval
        self._reranking = reranking
        self._coverage = coverage
        self._min_coverage = min_coverage
        # Saves a look at every character of texts that are plain ASCII.
        self._reads_ascii = coverage is None or coverage("a") >= min_coverage
        self._rerank = rerank
        self._stored_tokens = stored_tokens
        self._has_reranker = has_reranker or (lambda: True)
        self._embed_document = embed_document
        self.generation = generation
        self.running = 0
        self._close = close
        self._admit = admit

    @classmethod
    async def open(cls, settings: Settings) -> Searcher:
        """Return a searcher over the settings' home, with its own model thread.

        Raises:
            CollectionError: nothing is indexed there.
            FingerprintMismatchError: other encoders built the collection.
        """
        from retrieval.opening import open_searcher

        return await open_searcher(settings)

    def with_retrieval(self, retrieval: RetrievalSettings) -> Searcher:
        """Return a searcher over the same parts with other defaults; closing it closes nothing."""
        other = copy(self)
        other._retrieval, other._close, other.running = retrieval, None, 0
        return other

    async def search(self, request: SearchRequest, *, timeout_s: float | None = None) -> SearchResponse:
        """Return the passages that answer the request best, and the receipt.

        Cancelling the task cancels the work.

        Raises:
            QueryError: see :func:`retrieval.plan.make_plan`.
            FilterError: see :func:`indexing.collection.filters.parse_filter`.
            DeadlineError: not done within ``timeout_s``.
        """
        plan = make_plan(request, self._retrieval)
        self.running += 1  # whoever replaces this searcher closes its collection when this is 0
        try:
            if timeout_s is None:
                return await self._search(plan, None)
            async with asyncio.timeout(timeout_s) as scope:
                return await self._search(plan, asyncio.get_running_loop().time() + timeout_s)
        except TimeoutError as error:
            if timeout_s is not None and scope.expired():
                raise DeadlineError(f"the search was not done within {timeout_s:g} s") from error
            raise
        finally:
            self.running -= 1

    async def close(self) -> None:
        """Release what this searcher opened; what was injected stays open."""
        if self._close is not None:
            await self._close()

    async def __aenter__(self) -> Searcher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _search(self, plan: Plan, deadline: float | None) -> SearchResponse:
        trace = Trace()
        rerank = self._rerank if self._has_reranker() else None
        reranking = rerank is not None and plan.rerank is not False
        wanted = max(plan.top_n, self._reranking.candidates) if reranking else plan.top_n
        pool = plan.per_source_cap * (POOL if reranking else 1)
        async with self._admit():
            arms = await self._embedded(plan, trace)
            passages = await self._passages(plan, arms, wanted, pool, trace)
        passages = await rerank_passages(
            rerank, self._reranking, plan, passages, deadline, trace, self._stored_tokens
        )
        passages = cap_sources(plan, passages, trace)
        results = tuple(passage.result() for passage in passages[: plan.top_n])
        log.debug("search %r: %d results", plan.query, len(results))
        return SearchResponse(results, trace.receipt())

    async def _embedded(self, plan: Plan, trace: Trace) -> list[_Arm]:
        began = perf_counter()
        arms = await self._arms(plan)
        embedding, known = arms[0].embedding, arms[0].known
        details: dict[str, object] = {"dense": embedding.dense is not None, "terms": len(embedding.sparse)}
        if plan.branches:
            details["branches"] = [branch.name for branch in plan.branches]
        trace.add("embed", began, {"coverage": round(known, 3), **details})
        return arms

    async def _arms(self, plan: Plan) -> list[_Arm]:
        """Embed the query and its branches."""
        if not plan.branches:  # a task takes longer than to look a lone query's words up
            return [self._arm(plan, plan.query, await self._embed_query(plan.query), 1.0)]
        embedding, *others = await asyncio.gather(
            self._embed_query(plan.query), *(self._embed_branch(branch) for branch in plan.branches)
        )
        arms = [self._arm(plan, plan.query, embedding, 1.0)]
        for branch, other in zip(plan.branches, others, strict=True):
            arms.append(self._arm(plan, branch.text, other, branch.weight))
        return arms

    async def _embed_branch(self, branch: Branch) -> Embedding:
        if branch.side == "query":
            return await self._embed_query(branch.text)
        if self._embed_document is None:
            raise QueryError(f"branch {branch.name!r} is a document, and this searcher encodes none")
        return await self._embed_document(branch.text)

    def _arm(self, plan: Plan, text: str, embedding: Embedding, share: float) -> _Arm:
        known = self._known(text, embedding)
        (dense, sparse), why = _weights(plan.mode, embedding, known, self._retrieval.dense_weight)
        weights = (dense * share, sparse * share)
        return _Arm(embedding, known, weights, _engine_mode(weights), why)

    def _known(self, query: str, embedding: Embedding) -> float:
        if embedding.dense is None:
            return 0.0
        return 1.0 if self._coverage is None else self._coverage(query)

    async def _passages(
        self, plan: Plan, arms: list[_Arm], wanted: int, pool: int, trace: Trace
    ) -> list[Standing]:
        """Fetch until ``wanted`` passages stand, or nothing more can be had.

        With a cap of ``pool`` passages a source, those over it stand behind and do not count.
        """
        top_k = plan.top_k
        for fetch in range(1, _MAX_FETCHES + 1):
            found = await self._retrieve(plan, arms, top_k, fetch, trace)
            fused = await self._fuse(plan, found, arms, trace)
            assembly = await self._assemble(plan, fused, len(fused) if pool else wanted, trace)
            passages, over = capped(assembly.standing(), pool, plan.source_field)
            more = max(max(len(hits.dense), len(hits.sparse)) for hits in found) >= top_k
            if len(passages) - over >= plan.top_n or not more or top_k >= MAX_TOP_K:
                break
            top_k = min(MAX_TOP_K, top_k * _GROWTH)
        return passages

    async def _retrieve(
        self, plan: Plan, arms: list[_Arm], top_k: int, fetch: int, trace: Trace
    ) -> list[SideHits]:
        """Fetch both sides of every arm; a lone query is awaited without a task of its own."""
        began = perf_counter()
        calls = [
            self.collection.search(
                arm.embedding,
                tenant=plan.tenant,
                top_k=top_k,
                mode=arm.mode,
                filter=plan.filter,
                with_payload=False,
            )
            for arm in arms
        ]
        found = [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)
        hits = found[0]
        trace.add(
            "retrieve",
            began,
            {
                "generation": self.generation,
                "mode": arms[0].mode,
                "top_k": top_k,
                "dense_hits": len(hits.dense),
                "sparse_hits": len(hits.sparse),
                "engine_ms": round(sum(one.engine_ms for one in found), 3),
                "fetches": fetch,
            },
        )
        return found

    async def _fuse(self, plan: Plan, found: list[SideHits], arms: list[_Arm], trace: Trace) -> Fusion:
        began = perf_counter()
        sides = [side for hits in found for side in (hits.dense, hits.sparse)]
        weights = [weight for arm in arms for weight in arm.weights]
        if plan.fusion == "weighted":
            # What the encoder cannot read of the query, its confidence cannot speak for.
            power = self._retrieval.confidence_power * arms[0].known
            weights = confidence_weights(sides, weights, power, factors=FACTORS * len(arms))
        credits = await self._credits(plan, found[0]) if weights[0] else {}
        fused = fuse(
            plan.fusion,
            sides,
            weights,
            rrf_k=self._retrieval.rrf_k,
            floors=_FLOORS * len(arms),
            credits=credits,
        )
        details: dict[str, object] = {
            "method": plan.fusion,
            "weights": {"dense": round(weights[0], 4), "sparse": round(weights[1], 4)},
            "why": arms[0].why,
            "candidates": len(fused),
        }
        if plan.branches:
            details["rankings"] = 2 * len(arms)
        if plan.fusion == "rrf":
            details["k"] = self._retrieval.rrf_k
        if credits:
            details["credited"] = len(credits)
        trace.add("fuse", began, details)
        return fused

    async def _credits(self, plan: Plan, hits: SideHits) -> dict[str, float]:
        """What sparse hits without a dense vector may claim; see :mod:`retrieval.credits`."""
        if self._coverage is None:
            return {}
        unseen = hits.without_dense
        if unseen is None:
            unseen = frozenset(hit.id for hit in hits.sparse) - {hit.id for hit in hits.dense}
        if not unseen or not readable_words(plan.query, self._coverage, self._min_coverage):
            return {}
        points = sorted(unseen)
        windows = await self._windows.read(plan.tenant, points, 0)
        texts = {
            point: window.sentence
            for point, window in zip(points, windows, strict=True)
            if window is not None and not (self._reads_ascii and window.sentence.isascii())
        }
        return literal_credits(plan.query, texts, self._coverage, self._min_coverage) if texts else {}

    async def _assemble(self, plan: Plan, fused: Sequence[Fused], wanted: int, trace: Trace) -> Assembly:
        """Walk down the fused list until ``wanted`` passages stand."""
        began = perf_counter()
        assembly = Assembly(plan.window_size, wanted)
        position = 0
        while position < len(fused) and assembly.missing:
            batch = assembly.batch(fused, position)
            points = [hit.id for hit in batch]
            assembly.add(batch, await self._windows.read(plan.tenant, points, assembly.fetch_size))
            position += len(batch)
        trace.add("windows", began, {"size": plan.window_size, **assembly.counts()})
        return assembly


def _weights(
    mode: Mode, embedding: Embedding, known: float, dense_weight: float
) -> tuple[tuple[float, float], str]:
    """Return ``(dense, sparse)`` weights and the reason that the receipt gives."""
    if mode == "dense":
        why = "mode is dense"
        if embedding.dense is None:
            why += ", and the dense encoder does not know the query's script: nothing can be found"
        return (1.0, 0.0), why
    if mode == "sparse":
        return (0.0, 1.0), "mode is sparse"
    weights = side_weights(known, dense_weight)
    share = f"the dense encoder knows {known:.2f} of the query"
    if weights[0] == 0:
        return weights, f"{share}: the dense side is skipped"
    if len(embedding.sparse) == 0:
        return weights, f"{share}; the query has no terms for the sparse side"
    return weights, share


def _engine_mode(weights: tuple[float, float]) -> Mode:
    """A side without weight is not fetched at all."""
    if weights[0] == 0:
        return "sparse"
    return "dense" if weights[1] == 0 else "hybrid"
