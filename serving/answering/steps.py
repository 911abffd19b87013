"""What a step of an answer leaves in its receipt."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from retrieval.expansion import Expanded
from retrieval.generation.citations import CheckedAnswer
from retrieval.generation.prompts import Packed
from retrieval.generation.protocol import PassageUnit, Usage
from retrieval.records import Stage
from retrieval.spans import record_stage
from serving.answering.records import Draft, StageDone


def add_expansion(draft: Draft, step: Expanded) -> StageDone:
    """Note an expansion, and where it fell back."""
    stage = step.stage()
    draft.stages.append(stage)
    if step.fell_back is not None:
        draft.degraded.append(f"{step.name}: {step.fell_back}")
    return StageDone(stage)


def add_step(draft: Draft, name: str, began: float, details: dict[str, object]) -> StageDone:
    """Note a step that began at a time of ``perf_counter`` and is over now."""
    stage = Stage(name, round((perf_counter() - began) * 1000, 3), details)
    draft.stages.append(stage)
    record_stage(name, began, details)
    return StageDone(stage)


def packing(packed: Packed, unit: PassageUnit) -> dict[str, object]:
    """Return what of the passages went into the prompt."""
    return {
        "unit": unit,
        "passages": len(packed.passages),
        "tokens": packed.tokens,
        "dropped": packed.dropped,
        "cut": packed.cut,
        "exact": packed.exact,
    }


def spent(model: str, usages: Sequence[Usage]) -> dict[str, object]:
    """What the calls took, by the server's own counts; cached tokens only where it says them."""
    details: dict[str, object] = {"model": model, "calls": len(usages)}
    total = summed(usages)
    if total is None:
        return details
    details["prompt_tokens"] = total.prompt_tokens
    details["completion_tokens"] = total.completion_tokens
    if total.cached_tokens is not None:
        details["cached_tokens"] = total.cached_tokens
    if total.first_token_ms is not None:
        details["first_token_ms"] = round(total.first_token_ms, 1)
    if total.tokens_per_s is not None:
        details["tokens_per_s"] = round(total.tokens_per_s, 1)
    return details


def summed(usages: Sequence[Usage]) -> Usage | None:
    """Return the calls as one: tokens added, the first one's first token, the mean rate."""
    if not usages:
        return None
    cached = [one.cached_tokens for one in usages if one.cached_tokens is not None]
    rates = [one.tokens_per_s for one in usages if one.tokens_per_s is not None]
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in usages),
        completion_tokens=sum(one.completion_tokens for one in usages),
        cached_tokens=sum(cached) if cached else None,
        first_token_ms=usages[0].first_token_ms,
        tokens_per_s=sum(rates) / len(rates) if rates else None,
        replica=usages[-1].replica,
    )


def verdict(checked: CheckedAnswer) -> dict[str, object]:
    """Return what the check found."""
    kinds = [flaw.kind for flaw in checked.flaws]
    return {
        "citations": len(checked.citations),
        "flaws": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "answered": checked.answered,
    }
