"""What the gate found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One check: what was measured, against which bound."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """All checks of one teacher."""

    teacher: str
    checks: tuple[GoldenCheck, ...]
    calls: int = 0
    prompt_tokens: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)  # "query/passage" -> score

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[GoldenCheck, ...]:
        return tuple(check for check in self.checks if not check.passed)

    def refusal(self) -> str:
        """Every failed check with its numbers, in one message."""
        lines = "; ".join(f"{check.name}: {check.detail}" for check in self.failed)
        return f"the teacher {self.teacher} failed the golden pairs and was not asked for a label. {lines}"
