"""Errors of this room, a branch of Winnow's one family.

::

    WinnowError (indexing.errors)
    └── DistillError
        ├── TeacherError            the teacher cannot be reached, or answers what is no label
        │   └── GoldenGateError     the teacher failed the golden pairs: no label was asked for
        ├── LabelStoreError         the store of labels
        ├── TrainingError           a training run that cannot start or go on
        │   └── CollapseError       the student gives every passage nearly the same score
        ├── GateError               a model that is worse than the one in service
        └── RegistryError           the folder of models
"""

from __future__ import annotations

from indexing.errors import WinnowError


class DistillError(WinnowError):
    """Teaching a model failed."""


class TeacherError(DistillError):
    """The teacher cannot be reached, or what it answers is no label."""


class GoldenGateError(TeacherError):
    """The teacher failed the golden pairs, so it was not asked for a label."""


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
