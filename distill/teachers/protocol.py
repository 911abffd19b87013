"""What every teacher is: a card, and an async ``score``.

Concurrency and retries belong to the caller.  A teacher may be asked for
several queries at once; it sends what it was asked for and keeps no queue.
One ``score`` call of a pointwise teacher is one or few requests; of a listwise
teacher, one request a window, one after the other, because each window starts
from the order the last one left.

``score`` raises :class:`~distill.errors.TeacherUnavailableError` where the
same call may succeed later (``retryable``, ``retry_after_s``), and another
:class:`~distill.errors.TeacherError` where it will not.  It never returns a
score that the teacher did not give: a missing token, a NaN or a probability
of exactly 0 or 1 is an error.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from distill.records import Passage, Query, Scale

TeacherKind = Literal["pointwise", "listwise"]
GoldenState = Literal["not run", "passed", "skipped"]


class TeacherCard(BaseModel):
    """Who gave the scores and how, without the address it was reached at.

    ``id`` names the teacher in every label: the model's name and a hash over
    all that changes a score (model, kind, method, prompt, activation, scale,
    parameters).  ``date`` and ``golden`` are not part of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    kind: TeacherKind
    method: str = Field(description="how the scores are asked for: the kind in the settings")
    prompt_name: str
    prompt: str = Field(description="full text, with {query} and {passage} where they go")
    prompt_sha256: str
    activation: str = Field(description="from the model's output to the score, in words or a formula")
    scale: Scale
    parameters: Mapping[str, str | int | float] = Field(default_factory=dict)
    date: str = Field(description="day the teacher was opened, UTC")
    golden: GoldenState = "not run"

    def with_golden(self, state: GoldenState) -> Self:
        """The same card with the outcome of the golden gate, or that it was skipped."""
        return self.model_copy(update={"golden": state})


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """Scores of one ``score`` call, ``(n_passages,)``, in the order of the passages, higher is better."""

    scores: tuple[float, ...]
    scale: Scale
    prompt_tokens: int = 0
    # Of the prompt tokens, those the server says it took from its prefix cache: a lower bound.  vLLM
    # counts one prompt of a batch only, and none in /generative_scoring; see prefix_cache for all.
    cached_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0  # requests that were answered
    repairs: int = 0  # permutations that had to be mended


class Teacher(Protocol):
    """Something that scores passages for a query."""

    @property
    def card(self) -> TeacherCard: ...

    async def score(self, query: Query, passages: Sequence[Passage]) -> TeacherAnswer:
        """Return one score a passage, in their order.

        Raises:
            TeacherError: see the module's text.
        """
        ...

    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...


def make_card(
    *,
    model: str,
    kind: TeacherKind,
    method: str,
    prompt_name: str,
    prompt: str,
    activation: str,
    scale: Scale,
    parameters: Mapping[str, str | int | float] | None = None,
) -> TeacherCard:
    """Return the card of a teacher, with its id and prompt hash worked out."""
    identity = {
        "model": model,
        "kind": kind,
        "method": method,
        "prompt": prompt,
        "activation": activation,
        "scale": scale,
        "parameters": dict(parameters or {}),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    # The last part of a path or repository name is enough to recognise a model by.
    slug = re.sub(r"[^a-z0-9.]+", "-", model.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-") or "model"
    return TeacherCard(
        id=f"{slug[:40]}-{digest[:12]}",
        prompt_name=prompt_name,
        prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
        date=datetime.now(UTC).date().isoformat(),
        **identity,
    )
