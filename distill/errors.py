"""Errors of this room, a branch of Winnow's one family.

::

    WinnowError (indexing.errors)
    └── DistillError
        ├── TeacherError            the teacher cannot be reached, or answers what is no label
        │   ├── TeacherUnavailableError  nobody answers, or not now: asking again may help
        │   ├── TeacherRefusedError      the request is not accepted: asking again does not help
        │   ├── TeacherAnswerError       the answer came and is no label
        │   ├── UnknownPairError         a precomputed teacher that has no score for the pair
        │   └── GoldenGateError     the teacher failed the golden pairs: no label was asked for
        ├── LabelStoreError         the store of labels
        ├── TrainingError           a training run that cannot start or go on
        │   └── CollapseError       the student gives every passage nearly the same score
        ├── GateError               a model that is worse than the one in service
        └── RegistryError           the folder of models
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexing.errors import WinnowError

if TYPE_CHECKING:
    from distill.golden.report import GoldenReport


class DistillError(WinnowError):
    """Teaching a model failed."""


class TeacherError(DistillError):
    """The teacher cannot be reached, or what it answers is no label."""

    retryable = False


class TeacherUnavailableError(TeacherError):
    """Nobody answers, or not now; ``retryable`` says whether the same request may be sent again.

    ``retry_after_s`` is the wait that the server asked for, if it named one.
    """

    def __init__(self, message: str, *, retryable: bool = True, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class TeacherRefusedError(TeacherError):
    """The server does not accept the request: a wrong address, key, model or prompt."""


class TeacherAnswerError(TeacherError):
    """The teacher answered, and the answer is no label."""


class UnknownPairError(TeacherError):
    """A precomputed teacher has no score for the pair."""


class GoldenGateError(TeacherError):
    """The teacher failed the golden pairs, so it was not asked for a label; ``report`` has the numbers."""

    def __init__(self, message: str, report: GoldenReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class LabelStoreError(DistillError):
    """The store of labels refused or failed an operation."""


class TrainingError(DistillError):
    """A training run cannot start, or cannot go on."""


class CollapseError(TrainingError):
    """The student gives every passage nearly the same score."""


class GateError(DistillError):
    """A model is worse than the one in service, so it was not published."""


class RegistryError(DistillError):
    """The folder of models is not usable, or names no such model."""
