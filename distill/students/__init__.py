"""The kinds of student, and the one place that knows which module opens which.

A kind's module has ``open_student(settings) -> Student``, which opens a base
model (with a fresh head where it has none) as well as a folder that
``Student.save`` wrote.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from distill.students.protocol import Features, Kind, Scorer, Student
from distill.students.settings import StudentSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Features", "Kind", "Scorer", "Student", "StudentSettings", "open_student"]

_MODULES: Mapping[Kind, str] = {
    "cross-encoder": "distill.students.cross_encoder",
    "late-interaction": "distill.students.late_interaction",
}


def open_student(settings: StudentSettings) -> Student:
    """Return the student that ``settings`` describe, ready to train or to score.

    Raises:
        TrainingError: the base is no folder that this kind can start from.
        EncoderError: loading the base could run code (pickles, ``auto_map``).
        MissingDependencyError: the ``train`` extra is not installed.
    """
    student: Student = importlib.import_module(_MODULES[settings.kind]).open_student(settings)
    return student
