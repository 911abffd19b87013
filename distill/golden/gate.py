"""The gate: all checks, and a refusal that names every one that failed."""

from __future__ import annotations

import logging

from distill.errors import GoldenGateError
from distill.golden import checks
from distill.golden.probe import Observations, observe
from distill.golden.report import GoldenCheck, GoldenReport
from distill.golden.settings import GoldenBounds
from distill.teachers.protocol import Teacher, TeacherCard

logger = logging.getLogger(__name__)


async def check_teacher(teacher: Teacher, bounds: GoldenBounds | None = None) -> GoldenReport:
    """Ask ``teacher`` for the golden pairs and return the report of a teacher that passed.

    A pointwise teacher is asked for 14 queries of 4 passages, 5 of them again
    in another order and in a smaller batch, and 4 long pairs; a listwise one
    for 14 lists, each also reversed, and 4 long pairs.

    Raises:
        GoldenGateError: names every failed check with its numbers; the report
            is its ``report``.
        TeacherUnavailableError: the teacher cannot be reached.
        TeacherRefusedError: its server does not accept the first call.
    """
    bounds = bounds or GoldenBounds()
    seen = await observe(teacher, bounds)
    report = judge(teacher.card, seen, bounds)
    for check in report.checks:
        logger.info(
            "golden teacher=%s %s passed=%s %s", report.teacher, check.name, check.passed, check.detail
        )
    if not report.passed:
        raise GoldenGateError(report.refusal(), report)
    return report


def judge(card: TeacherCard, seen: Observations, bounds: GoldenBounds) -> GoldenReport:
    """Return the report on ``seen``; asks nothing and raises nothing."""
    found: list[GoldenCheck] = [checks.answered(seen, bounds)]
    # Without finite scores for every passage the other numbers would describe the gaps.
    if found[0].passed and all(asked.scores for asked in seen.first):
        listwise = card.kind == "listwise"
        found.append(checks.scale(seen, card.scale))
        found.extend(checks.right_pairs(seen, bounds, language) for language in bounds.languages)
        found.append(checks.exchanged(seen, bounds))
        found.append(checks.reads_to_the_end(seen, bounds, listwise=listwise))
        if listwise:
            found += [checks.order_agreement(seen, bounds), checks.mended(seen, bounds)]
        else:
            found += [checks.spread(seen, bounds), checks.not_floored(seen, bounds)]
            found.append(checks.order_shift(seen, bounds))
    answers = [asked.answer for asked in seen.calls if asked.answer]
    return GoldenReport(
        teacher=card.id,
        checks=tuple(found),
        calls=sum(answer.calls for answer in answers),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        scores={
            f"{asked.query.query_id}/{name}": score
            for asked in seen.first
            for name, score in asked.scores.items()
        },
    )
