"""Teachers: what gives a passage its score, pointwise, listwise, or from a file."""

from __future__ import annotations

from distill.teachers.protocol import Teacher, TeacherAnswer, TeacherCard
from distill.teachers.settings import TeacherSettings

__all__ = ["Teacher", "TeacherAnswer", "TeacherCard", "TeacherSettings", "open_teacher"]


def open_teacher(settings: TeacherSettings) -> Teacher:
    """Return the teacher that ``settings`` describe; nothing is asked of it yet.

    It is an async context manager, or is closed with ``aclose()``.

    Raises:
        SettingsError: no model is named, or two settings contradict each other.
        InputError: a file of a precomputed teacher cannot be read.
    """
    from distill.teachers.opening import build

    return build(settings)
