"""The tables, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.prefix_cache.measure import Row, Sample
from benchmarks.prefix_cache.orders import Shared

FASTER = 4.0  # first token, against a server without a cache
MORE_HITS = 1.5  # against the same passages in the order of their ranks


@dataclass(frozen=True, slots=True)
class Goal:
    name: str
    wanted: float
    found: float

    @property
    def met(self) -> bool:
        return self.found >= self.wanted


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals that these rows can decide."""
    known = {(row.stream, row.unit, row.layout, row.caching): row for row in rows}
    found: list[Goal] = []
    for stream, unit in dict.fromkeys((row.stream, row.unit) for row in rows):
        ours, off = known.get((stream, unit, "ours", True)), known.get((stream, unit, "ours", False))
        ranked = known.get((stream, unit, "rank order", True))
        if stream != "whole corpus" and ours and off:
            found.append(
                Goal(
                    f"{stream}, {unit}s: first token p50, caching off / on",
                    FASTER,
                    off.first_token_p50_ms / ours.first_token_p50_ms,
                )
            )
        if ours and ranked:
            found.append(
                Goal(
                    f"{stream}, {unit}s: hit rate, ours / rank order",
                    MORE_HITS,
                    ours.hit_rate / ranked.hit_rate if ranked.hit_rate else float("inf"),
                )
            )
    return found


def table(rows: Sequence[Row]) -> str:
    """Return the conditions as Markdown."""
    lines = [
        "| stream | passages | layout | caching | prompt tokens | hit rate "
        "| first token p50 / p95, ms | answers a minute |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.stream} | {row.unit}s | {row.layout} | {'on' if row.caching else 'off'} "
            f"| {row.prompt_tokens} | {row.hit_rate:.1%} "
            f"| {row.first_token_p50_ms:.0f} / {row.first_token_p95_ms:.0f} | {row.answers_per_min:.1f} |"
        )
    return "\n".join(lines)


def goal_lines(found: Sequence[Goal]) -> str:
    """Return one line a goal."""
    return "\n".join(
        f"- {goal.name}: {goal.found:.2f} (goal {goal.wanted:g}): {'met' if goal.met else 'NOT MET'}"
        for goal in found
    )


def order_table(found: Sequence[Shared]) -> str:
    """Return the share of tokens that a cache serves, one row an order."""
    columns = list(dict.fromkeys((one.stream, one.unit, one.block) for one in found))
    heads = " | ".join(f"{stream}, {unit}s, blocks of {block}" for stream, unit, block in columns)
    lines = [f"| order | {heads} |", "|---" * (len(columns) + 1) + "|"]
    known = {(one.order, one.stream, one.unit, one.block): one for one in found}
    for name in dict.fromkeys(one.order for one in found):
        cells = " | ".join(f"{known[(name, *column)].share:.1%}" for column in columns)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def agreement(samples: Sequence[Sample]) -> str:
    """Return how often the server served as many tokens as the block rule says."""
    cached = [one for one in samples if one.caching]
    same = sum(one.cached_tokens == one.expected_cached for one in cached)
    return f"{same} of {len(cached)} requests were served the tokens that the block rule predicts"
