"""vLLM's ``/score``: a model with a classification head, such as a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from distill.records import Passage, Query
from distill.teachers.http import Answer, Endpoint, Usage
from distill.teachers.pointwise import in_order
from distill.teachers.protocol import TeacherAnswer, TeacherCard, make_card
from distill.teachers.settings import TeacherSettings
from distill.teachers.tally import Tally


class _Score(Answer):
    index: int
    score: float = Field(allow_inf_nan=False)


class _Scores(Answer):
    data: tuple[_Score, ...]
    usage: Usage = Usage()


class ScoringModelTeacher:
    """A pooling model; its raw output is taken, without the sigmoid, which in bf16 leaves few values."""

    def __init__(self, settings: TeacherSettings, endpoint: Endpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._card = make_card(
            model=settings.model,
            kind="pointwise",
            method=settings.kind,
            prompt_name="none",
            prompt=settings.instruction or "",
            activation="none: the output of the classification head",
            scale="logit",
        )

    @property
    def card(self) -> TeacherCard:
        return self._card

    async def score(self, query: Query, passages: Sequence[Passage]) -> TeacherAnswer:
        """Return the model's output, one a passage; see the protocol."""
        tally = Tally()
        scores: list[float] = []
        for start in range(0, len(passages), self._settings.batch):
            part = passages[start : start + self._settings.batch]
            body: dict[str, object] = {
                "model": self._settings.model,
                "queries": query.text,
                "documents": [one.text for one in part],
                "use_activation": False,
            }
            if self._settings.instruction:
                body["instruction"] = self._settings.instruction
            answer = await self._endpoint.post(f"{self._endpoint.root}/score", body, _Scores)
            tally.add(answer.usage)
            rows = {one.index: one.score for one in answer.data}
            scores.extend(in_order(rows, len(answer.data), len(part)))
        return tally.answer(scores, "logit")

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()
