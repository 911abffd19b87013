"""Every question in every layout to real servers, one request at a time, in turns.

One server caches prefixes, another one does not; both run during the whole
measurement and each question goes to every condition before the next one
comes, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from benchmarks.prefix_cache.blocks import BlockCache
from benchmarks.prefix_cache.layouts import LAYOUTS, Dialogue, Layout
from benchmarks.prefix_cache.streams import Ask, Stream, Unit
from indexing.settings import GenerationSettings
from retrieval.generation.client import HttpGenerator, open_generator
from retrieval.generation.protocol import GenerationRequest, Message


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: the server's own counts, and two clocks."""

    stream: Stream
    unit: Unit
    layout: Layout
    caching: bool
    turn: int
    prompt_tokens: int
    cached_tokens: int
    expected_cached: int
    first_token_ms: float
    whole_ms: float


@dataclass(frozen=True, slots=True)
class Row:
    """One condition over one stream."""

    stream: Stream
    unit: Unit
    layout: Layout
    caching: bool
    requests: int
    prompt_tokens: int
    hit_rate: float
    first_token_p50_ms: float
    first_token_p95_ms: float
    answers_per_min: float


class Bench:
    """Runs the streams; ``aclose`` closes the two clients."""

    def __init__(self, on: str, off: str, home: Path, tokenizer: Any, *, block: int, max_tokens: int) -> None:
        self._on = _client(on, home, max_tokens)
        self._off = _client(off, home, max_tokens)
        self._url = on
        self._tokenizer = tokenizer
        self._block = block
        self._run = f"{perf_counter():.6f}"  # salts of an earlier run must not serve this one
        self._models: dict[tuple[Stream, Unit, Layout], BlockCache] = {}
        self.samples: list[Sample] = []

    async def warm_up(self) -> None:
        """Let both servers answer once; nothing of it is counted."""
        for server in (self._on, self._off):
            text = "warm up " * 300
            await server.complete(GenerationRequest((Message("user", text),), tenant=f"warm-{self._run}"))

    async def run(self, asks: Sequence[Ask], say: Callable[[str], None]) -> None:
        dialogues: dict[tuple[str, ...], Dialogue] = {}
        for number, ask in enumerate(asks):
            if ask.turn == 1:
                dialogues[(ask.stream, ask.unit, ask.document)] = Dialogue()
            dialogue = dialogues[(ask.stream, ask.unit, ask.document)]
            made = dialogue.ask(ask.question, ask.passages, ask.answer)
            conditions: list[tuple[Layout, bool]] = [(layout, True) for layout in _layouts(ask.stream)]
            conditions.append(("ours", False))
            turn = number % len(conditions)
            for layout, caching in conditions[turn:] + conditions[:turn]:
                self.samples.append(await self._one(ask, layout, caching, made[layout]))
            last = {(one.layout, one.caching): one for one in self.samples[-len(conditions) :]}
            ours, off = last[("ours", True)], last[("ours", False)]
            say(
                f"{number + 1}/{len(asks)} {ask.stream}, {ask.unit}, turn {ask.turn}: "
                f"{ours.cached_tokens}/{ours.prompt_tokens} cached, first token "
                f"{ours.first_token_ms:.0f} ms, without a cache {off.first_token_ms:.0f} ms"
            )

    async def _one(self, ask: Ask, layout: Layout, caching: bool, messages: tuple[Message, ...]) -> Sample:
        place = (ask.stream, ask.unit, layout)
        expected = 0
        if caching:
            cache = self._models.setdefault(place, BlockCache(self._tokenizer, self._block))
            expected = cache.add(messages)[1]
        # Conditions must not serve each other: each is a tenant of its own.
        tenant = "/".join((*place, self._run))
        began = perf_counter()
        server = self._on if caching else self._off
        answer = await server.complete(GenerationRequest(messages, tenant=tenant))
        whole = (perf_counter() - began) * 1000
        usage = answer.usage
        if usage is None or (caching and usage.cached_tokens is None):
            raise RuntimeError("the server counts no cached tokens; start it with python -m serving.vllm")
        return Sample(
            *(ask.stream, ask.unit, layout, caching, ask.turn),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens or 0,
            expected_cached=expected,
            first_token_ms=whole if usage.first_token_ms is None else usage.first_token_ms,
            whole_ms=whole,
        )

    async def server_hits(self) -> float:
        """Return the caching server's own count of tokens served from its cache, since its start."""
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            text = (await client.get(f"{self._url}/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith("vllm:prefix_cache_hits_total")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    async def aclose(self) -> None:
        await self._on.aclose()
        await self._off.aclose()


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Return one row for each condition, in the order in which they first came."""
    groups: dict[tuple[Stream, Unit, Layout, bool], list[Sample]] = {}
    for one in samples:
        groups.setdefault((one.stream, one.unit, one.layout, one.caching), []).append(one)
    made = []
    for (stream, unit, layout, caching), mine in groups.items():
        times = sorted(one.first_token_ms for one in mine)
        tokens = sum(one.prompt_tokens for one in mine)
        made.append(
            Row(
                *(stream, unit, layout, caching, len(mine)),
                prompt_tokens=round(tokens / len(mine)),
                hit_rate=sum(one.cached_tokens for one in mine) / tokens,
                first_token_p50_ms=statistics.median(times),
                first_token_p95_ms=times[min(len(times) - 1, round(0.95 * (len(times) - 1)))],
                answers_per_min=60_000 * len(mine) / sum(one.whole_ms for one in mine),
            )
        )
    order = {name: place for place, name in enumerate(LAYOUTS)}
    return sorted(made, key=lambda row: (row.unit, row.stream, not row.caching, order[row.layout]))


def _layouts(stream: Stream) -> list[Layout]:
    """Return the layouts that differ in this stream: without earlier turns, nothing is kept."""
    return [one for one in LAYOUTS if stream == "conversation" or one != "rank order, turns kept"]


def _client(url: str, home: Path, max_tokens: int) -> HttpGenerator:
    settings = GenerationSettings(
        url=url, max_tokens=max_tokens, first_token_timeout_s=600, timeout_s=900, connect_timeout_s=10
    )
    made = open_generator(settings, home)
    if made is None:
        raise RuntimeError("no address")
    return made
