"""What one ``score`` call used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill.records import Scale
from distill.teachers.http import Usage
from distill.teachers.protocol import TeacherAnswer


@dataclass(slots=True)
class Tally:
    """Counts over the requests of one call; owned by that call alone."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    repairs: int = 0

    def add(self, usage: Usage) -> None:
        """Count one answered request."""
        self.calls += 1
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.completion_tokens += usage.completion_tokens or 0

    def answer(self, scores: Sequence[float], scale: Scale) -> TeacherAnswer:
        """The scores with these counts."""
        return TeacherAnswer(
            scores=tuple(scores),
            scale=scale,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            calls=self.calls,
            repairs=self.repairs,
        )
