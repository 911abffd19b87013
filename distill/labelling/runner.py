"""Ask a teacher for every label that the store does not have yet."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import anyio
import anyio.to_thread

from distill.errors import LabelStoreError, TeacherAnswerError, TeacherError
from distill.golden import check_teacher
from distill.labelling.lock import teacher_lock
from distill.labelling.patience import patiently
from distill.labelling.plan import Task, make_tasks, without_known
from distill.labelling.settings import LabelSettings
from distill.labelling.store import LabelStore
from distill.records import CandidateList, Passage, Query
from distill.teachers.protocol import Teacher, TeacherAnswer

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """What a run tells while it goes on; all numbers count pairs."""

    def started(self, total: int, known: int) -> None: ...

    def answered(self, pairs: int, cost: float) -> None: ...

    def failed(self, pairs: int, query_id: str, reason: str) -> None: ...


@dataclass(slots=True)
class LabelReport:
    """One run: pairs ``known`` before, ``labelled`` now, and what could not be labelled.

    ``failed`` has the id of each query that lacks labels, and why; ``unasked``
    counts queries never tried because too many failed in a row.
    """

    teacher: str
    queries: int = 0
    pairs: int = 0
    known: int = 0
    labelled: int = 0
    unasked: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    repairs: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.failed and not self.unasked


async def label(
    lists: Sequence[CandidateList],
    teacher: Teacher,
    store: LabelStore,
    settings: LabelSettings,
    progress: Progress | None = None,
) -> LabelReport:
    """Label the candidates and return what happened.

    Every answer is committed before the next call of its query: a run that is
    killed at any moment is finished by starting it again, and no pair whose
    answer was committed is asked again.  At most ``concurrency`` answers can
    be on their way, or not committed yet, when a process dies.

    Raises:
        GoldenGateError: the teacher failed the golden pairs; nothing was labelled.
        LabelStoreError: the store cannot be written, or another process is
            labelling with this teacher.
    """
    key = await anyio.to_thread.run_sync(store.register, teacher.card)
    with teacher_lock(store.path, key, teacher.card.id):
        run = _Run(teacher, store, key, settings, progress)
        await run.check()
        return await run.work(lists)


class _Run:
    """The state of one run, touched by its workers on one event loop."""

    def __init__(
        self,
        teacher: Teacher,
        store: LabelStore,
        key: int,
        settings: LabelSettings,
        progress: Progress | None,
    ) -> None:
        self._teacher = teacher
        self._store = store
        self._key = key
        self._settings = settings
        self._progress = progress
        self._kind = teacher.card.kind
        self._failures_in_a_row = 0
        self.report = LabelReport(teacher.card.id)

    async def check(self) -> None:
        """Pass the golden gate once per teacher and store, or remember that it was skipped."""
        card, settings = self._teacher.card, self._settings
        passed_at = await anyio.to_thread.run_sync(self._store.golden_at, self._key)
        if passed_at is not None and not settings.recheck:
            logger.info("golden_passed teacher=%s at=%s", card.id, passed_at)
            return
        # A file has no answer to pairs that are not in it.
        if settings.skip_golden or card.method == "precomputed":
            logger.warning("golden_skipped teacher=%s", card.id)
            await anyio.to_thread.run_sync(self._store.set_golden, self._key, card.with_golden("skipped"), {})
            return
        found = await check_teacher(self._teacher, settings.golden)  # it is patient itself
        logger.info("golden_passed teacher=%s checks=%d", card.id, len(found.checks))
        await anyio.to_thread.run_sync(
            self._store.set_golden, self._key, card.with_golden("passed"), asdict(found)
        )

    async def work(self, lists: Sequence[CandidateList]) -> LabelReport:
        began = time.monotonic()
        tasks = make_tasks(lists, self._kind)
        left = await anyio.to_thread.run_sync(without_known, tasks, self._store, self._key, self._kind)
        report = self.report
        report.queries = len({task.query.text for task in tasks})
        report.pairs = sum(len(task.passages) for task in tasks)
        report.known = report.pairs - sum(len(task.passages) for task in left)
        if self._progress is not None:
            self._progress.started(report.pairs, report.known)
        waiting = iter(left)
        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(self._settings.concurrency, len(left))):
                    group.start_soon(self._worker, waiting)
        except* LabelStoreError as several:  # a full disk: nothing more can be kept, so nothing is asked
            raise several.exceptions[0] from several
        report.unasked = sum(1 for _ in waiting)
        report.seconds = time.monotonic() - began
        return report

    async def _worker(self, waiting: Iterator[Task]) -> None:
        while self._failures_in_a_row < self._settings.give_up_after:
            task = next(waiting, None)
            if task is None:
                return
            await self._ask(task)

    async def _ask(self, task: Task) -> None:
        """Label one task, a batch after the other; a failure ends this task only."""
        size = self._settings.batch if self._kind == "pointwise" else len(task.passages)
        done = 0
        try:
            for start in range(0, len(task.passages), size):
                part = task.passages[start : start + size]
                await self._answer(task.query, part)
                done += len(part)
        except TeacherError as error:
            self._failures_in_a_row += 1
            self.report.failed.append((task.query.query_id, str(error)))
            logger.warning("query_failed id=%s reason=%s", task.query.query_id, error)
            if self._progress is not None:
                self._progress.failed(len(task.passages) - done, task.query.query_id, str(error))
        else:
            self._failures_in_a_row = 0

    async def _answer(self, query: Query, passages: tuple[Passage, ...]) -> None:
        began = time.monotonic()
        answer = await patiently(lambda: self._teacher.score(query, passages), self._settings)
        _check(answer, len(passages))
        seconds = time.monotonic() - began
        texts = [passage.text for passage in passages]
        add = self._store.add_pairs if self._kind == "pointwise" else self._store.add_list
        # run_sync waits for its thread even when it is cancelled: an answer that came is kept.
        await anyio.to_thread.run_sync(add, self._key, query.text, texts, answer, seconds)
        self._count(answer, len(passages))

    def _count(self, answer: TeacherAnswer, pairs: int) -> None:
        report = self.report
        report.labelled += pairs
        report.calls += answer.calls
        report.prompt_tokens += answer.prompt_tokens
        report.cached_tokens += answer.cached_tokens
        report.completion_tokens += answer.completion_tokens
        report.repairs += answer.repairs
        report.cost = self._settings.cost(
            report.prompt_tokens, report.cached_tokens, report.completion_tokens
        )
        if self._progress is not None:
            self._progress.answered(pairs, report.cost)


def _check(answer: TeacherAnswer, expected: int) -> None:
    if len(answer.scores) != expected:
        raise TeacherAnswerError(f"the teacher gave {len(answer.scores)} scores for {expected} passages")
    if not all(map(math.isfinite, answer.scores)):
        raise TeacherAnswerError("the teacher gave a score that is not a finite number")
