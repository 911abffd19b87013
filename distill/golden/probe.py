"""Asks a teacher for the golden pairs and writes down what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential

from distill.errors import TeacherError, TeacherRefusedError, TeacherUnavailableError
from distill.golden.pairs import GOLDEN, TailPair, passages_of, tail_pairs
from distill.golden.settings import GoldenBounds
from distill.records import Passage, Query
from distill.teachers.protocol import Teacher, TeacherAnswer

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: what was asked for, and the scores by passage id or the error."""

    query: Query
    passages: tuple[Passage, ...]
    answer: TeacherAnswer | None = None
    error: str | None = None

    @property
    def scores(self) -> dict[str, float]:
        """Score by passage id; empty where the teacher gave none, or too few."""
        if self.answer is None or len(self.answer.scores) != len(self.passages):
            return {}
        return {one.doc_id: score for one, score in zip(self.passages, self.answer.scores, strict=True)}


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything the checks look at; each sequence is in the order of the golden queries."""

    first: tuple[Asked, ...]
    again: tuple[Asked, ...]  # the same queries, passages in reverse and, for some, fewer of them
    tails: tuple[tuple[TailPair, Asked, Asked], ...] = field(default=())

    @property
    def calls(self) -> tuple[Asked, ...]:
        return (*self.first, *self.again, *(asked for _, *both in self.tails for asked in both))


async def observe(teacher: Teacher, bounds: GoldenBounds) -> Observations:
    """Return what ``teacher`` says to the golden queries.

    Raises:
        TeacherUnavailableError: it cannot be reached, or not in ``attempts`` tries.
        TeacherRefusedError: it does not accept the first call, such as one with a wrong key.
    """
    limit = asyncio.Semaphore(bounds.concurrency)
    listwise = teacher.card.kind == "listwise"

    async def ask(query: Query, passages: Sequence[Passage]) -> Asked:
        async with limit:
            try:
                answer = await _patiently(lambda: teacher.score(query, passages), bounds)
            except TeacherUnavailableError:
                raise
            except TeacherError as error:
                if isinstance(error, TeacherRefusedError) and not accepted.is_set():
                    raise
                return Asked(query, tuple(passages), error=str(error))
            return Asked(query, tuple(passages), answer)

    accepted = asyncio.Event()
    queries = [Query(f"golden-{one.name}", one.query) for one in GOLDEN]
    # The relevant passage stands at every place in turn.
    orders = [_rotated(passages_of(number), number % 4) for number in range(len(GOLDEN))]
    # The order is checked on all lists of a listwise teacher and on every third of a pointwise one,
    # which is asked for fewer passages too: a score must not depend on its company.
    backwards = [
        tuple(reversed(order if listwise else order[:3])) if listwise or number % 3 == 0 else ()
        for number, order in enumerate(orders)
    ]
    tails = tail_pairs(bounds.tail_words)
    # A server that is down, or a wrong key, shows with one call.
    head = await ask(queries[0], orders[0])
    accepted.set()
    rest = await _together(
        [
            *(ask(query, order) for query, order in zip(queries[1:], orders[1:], strict=True)),
            *(ask(query, order) for query, order in zip(queries, backwards, strict=True) if order),
            *(ask(tail.query, (tail.relevant, tail.other)) for tail in tails),
            *(ask(tail.query, (tail.other, tail.relevant)) for tail in tails),
        ]
    )
    first, rest = [head, *rest[: len(queries) - 1]], rest[len(queries) - 1 :]
    again, rest = rest[: -2 * len(tails)], rest[-2 * len(tails) :]
    pairs = zip(tails, rest[: len(tails)], rest[len(tails) :], strict=True)
    return Observations(tuple(first), tuple(again), tuple(pairs))


async def _together(jobs: Sequence[Awaitable[_Result]]) -> list[_Result]:
    """All results in order; the first failure ends the others."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _patiently(call: Callable[[], Awaitable[TeacherAnswer]], bounds: GoldenBounds) -> TeacherAnswer:
    doubling = wait_exponential(multiplier=bounds.first_wait_s, max=bounds.longest_wait_s)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_for = getattr(error, "retry_after_s", None)
        return min(asked_for, bounds.longest_wait_s) if asked_for is not None else doubling(state)

    retrying = AsyncRetrying(
        stop=stop_after_attempt(bounds.attempts),
        wait=wait,
        retry=retry_if_exception(lambda error: isinstance(error, TeacherError) and error.retryable),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            return await call()
    raise TeacherUnavailableError("the teacher was not asked")  # the loop above returns or raises


def _rotated(passages: tuple[Passage, ...], places: int) -> tuple[Passage, ...]:
    return (*passages[places:], *passages[:places])
