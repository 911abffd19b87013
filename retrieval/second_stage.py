"""The rerank stage of a search: its time limit, its order, and what the receipt says of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

import numpy as np

from indexing.errors import WinnowError
from indexing.records import FloatArray
from indexing.settings import RerankSettings
from retrieval.passages import Standing
from retrieval.plan import Plan
from retrieval.reranker import RerankScores, order
from retrieval.step_aside import permuted
from retrieval.stored_tokens import StoredTokens
from retrieval.trace import Trace

# The name that this stage's lines have always had.
log = logging.getLogger("retrieval.search")

Rerank = Callable[[str, Sequence[str]], Awaitable[RerankScores]]

# Share of the remaining time a reranker may use, so that a slow one still
# leaves room to answer in fused order.
_RERANK_SHARE = 0.9

# A late-interaction model compares meanings and hardly sees exact terms and
# numbers, which the sparse side does: alone it ranked figures in tables and
# abstracts worse than the fused order that it was given (docs/reranking.md).
_LATE_INTERACTION_WEIGHT = 0.7


async def rerank_passages(
    rerank: Rerank | None,
    settings: RerankSettings,
    plan: Plan,
    passages: list[Standing],
    deadline: float | None,
    trace: Trace,
    stored: StoredTokens | None = None,
) -> list[Standing]:
    """Return the passages by score; in fused order, marked degraded, when scoring failed.

    The score is the model's logit, or with a ``rerank.fused_weight`` the sum
    of the standardised logit and that many times the standardised fused score.

    With ``stored``, token vectors in the collection are compared instead of
    running the model over the passages, while they are the current model's.
    Passages past ``rerank.candidates`` keep their fused order behind, and
    passages that the model cannot read keep their places (no rank, no logit).
    """
    began = perf_counter()
    if rerank is None or plan.rerank is False or not passages:
        trace.add("rerank", began, {"rerank": "off", "reason": _skipped(rerank, plan)})
        return passages
    head, tail = passages[: settings.candidates], passages[settings.candidates :]
    limit = settings.timeout_s
    if deadline is not None:
        limit = min(limit, (deadline - asyncio.get_running_loop().time()) * _RERANK_SHARE)
    try:
        async with asyncio.timeout(limit):
            scores = None if stored is None else await stored.score(plan.tenant, plan.query, head)
            if scores is None:
                scores = await rerank(plan.query, [passage.text for passage in head])
    except (WinnowError, TimeoutError) as error:
        reason = str(error) or f"not done within {limit:.3g} s"
        log.warning("rerank failed, answering in fused order: %s", reason)
        trace.degraded.append(f"rerank: {reason}")
        trace.add("rerank", began, {"rerank": "failed", "candidates": len(head), "reason": reason})
        return passages
    details = _details(scores, len(head), len(tail))
    if stored is not None and scores.stored is None:
        details["stored_tokens"] = "of another model: not used"
    weight = _fused_weight(settings, scores)
    if weight:
        details["fused_weight"] = weight
    trace.add("rerank", began, details)
    return _ranked(head, scores, weight) + tail


def _fused_weight(settings: RerankSettings, scores: RerankScores) -> float:
    if settings.fused_weight is not None:
        return settings.fused_weight
    return _LATE_INTERACTION_WEIGHT if scores.kind == "late-interaction" else 0.0


def _ranked(head: Sequence[Standing], scores: RerankScores, weight: float) -> list[Standing]:
    known = scores.known or (True,) * len(head)
    values = scores.logits
    if weight:
        rows = np.flatnonzero(known)
        fused = np.array([one.passage.lead.score for one in head], dtype=np.float32)
        values = np.zeros(len(head), dtype=np.float32)
        values[rows] = _standardised(scores.logits[rows]) + weight * _standardised(fused[rows])
    best_first = [place for place in order([one.id for one in head], values) if known[place]]
    scored = [
        one._replace(logit=float(scores.logits[place]), rerank_score=float(values[place]))
        if known[place]
        else one
        for place, one in enumerate(head)
    ]
    placed = permuted(scored, best_first, known)
    return [
        one if one.logit is None else one._replace(rerank_rank=rank)
        for rank, one in enumerate(placed, start=1)
    ]


def _standardised(values: FloatArray) -> FloatArray:
    """Return the values less their mean, over their standard deviation; all 0 where all are equal."""
    if not len(values):
        return values
    centred = values.astype(np.float64) - values.mean(dtype=np.float64)
    spread = float(centred.std())
    found: FloatArray = (centred / spread if spread > 0 else centred).astype(np.float32)
    return found


def _details(scores: RerankScores, candidates: int, unscored: int) -> dict[str, object]:
    details: dict[str, object] = {"rerank": "on" if scores.stored is None else "stored tokens"}
    if scores.model:
        details |= {"model": scores.model, "kind": scores.kind}
    unknown = 0 if scores.known is None else scores.known.count(False)
    if not scores.query_known:
        details |= {"rerank": "stepped aside", "stepped_aside": "query"}
    elif unknown:
        details["stepped_aside"] = f"{unknown} passages"
        if unknown == candidates:
            details["rerank"] = "stepped aside"
    if scores.stored is not None:
        details |= scores.stored
    return details | {"candidates": candidates, "unscored": unscored, "truncated": sum(scores.truncated)}


def _skipped(rerank: Rerank | None, plan: Plan) -> str:
    if rerank is None:
        return "no reranker is configured"
    return "the request turned it off" if plan.rerank is False else "nothing to rerank"
