"""What one expansion gave, for the search and for the receipt."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.generation.protocol import Usage
from retrieval.records import Stage


@dataclass(frozen=True, slots=True)
class Expanded:
    """The texts an expansion made, or why it made none.

    ``texts`` is empty when ``fell_back`` says why: the plain question is
    searched then, and the receipt says so.
    """

    name: str
    texts: tuple[str, ...]
    ms: float
    usage: Usage | None = None
    fell_back: str | None = None

    def stage(self) -> Stage:
        """Return the step as the receipt shows it, the texts included."""
        details: dict[str, object] = {"texts": list(self.texts)}
        if self.usage is not None:
            details["prompt_tokens"] = self.usage.prompt_tokens
            details["completion_tokens"] = self.usage.completion_tokens
            if self.usage.cached_tokens is not None:
                details["cached_tokens"] = self.usage.cached_tokens
        if self.fell_back is not None:
            details["fell_back"] = self.fell_back
        return Stage(self.name, round(self.ms, 3), details)
