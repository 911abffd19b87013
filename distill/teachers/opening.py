"""From settings to a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distill.teachers.protocol import Teacher
from distill.teachers.settings import Method, TeacherSettings
from indexing.errors import MissingDependencyError, SettingsError


def build(settings: TeacherSettings) -> Teacher:
    """Return the teacher of ``settings``; see ``distill.teachers.open_teacher``."""
    if settings.kind == "precomputed":
        from distill.teachers.precomputed import PrecomputedTeacher

        return PrecomputedTeacher(settings)
    if not settings.model:
        raise SettingsError("the teacher's model is not named; its server lists names under /v1/models")
    return _on_a_server(settings)


def _on_a_server(settings: TeacherSettings) -> Teacher:
    try:
        from distill.teachers.http import Endpoint
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise MissingDependencyError("httpx", "train", "a teacher on a server") from error
    from distill.teachers.listwise import ListwiseTeacher
    from distill.teachers.pointwise import CompletionsTeacher, GenerativeScoringTeacher
    from distill.teachers.scoring_model import ScoringModelTeacher

    kinds: Mapping[Method, Callable[[TeacherSettings, Endpoint], Teacher]] = {
        "generative-scoring": GenerativeScoringTeacher,
        "completions": CompletionsTeacher,
        "score": ScoringModelTeacher,
        "listwise": ListwiseTeacher,
    }
    endpoint = Endpoint(settings.url, api_key=settings.api_key, timeout_s=settings.timeout_s)
    return kinds[settings.kind](settings, endpoint)
