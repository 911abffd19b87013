"""Yes/no teachers on a vLLM server: the log-odds that the next word is "yes".

``score = log p(yes) - log p(no)``, a logit.  Both ways give the same number:
``/generative_scoring`` as a probability over the two labels, which is turned
back, and ``/v1/completions`` as the two log probabilities.  A label the
server leaves out is an error: a floor in its place would be a false score.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field

from distill.errors import TeacherAnswerError
from distill.records import Passage, Query
from distill.teachers.http import Answer, Endpoint, Usage
from distill.teachers.prompts import defused, pointwise_prompt
from distill.teachers.protocol import TeacherAnswer, TeacherCard, make_card
from distill.teachers.settings import TeacherSettings
from distill.teachers.tally import Tally
from distill.teachers.vllm import Frame, Labels, Tokenizer

# Above this the probability has lost digits of the logit (float64: 1e-7 of 20,
# all of it at 37), so the other label's probability is asked for.
_NEAR_ONE = 1.0 - 1e-6

# A bf16 model gives many passages the very same logit, and the log probabilities
# that come back differ by the rounding of a softmax in fp32, about 2e-7: an order
# where the teacher has a tie, which a ranking loss would learn.  The grid is a
# power of two so that logits of bf16 lie on it, not half-way between two points
# of it as they do with decimals (0.015625 at five places).
_GRID = 2.0**-16


class YesNoTeacher(ABC):
    """A causal LLM that is asked about one passage at a time."""

    def __init__(self, settings: TeacherSettings, endpoint: Endpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._prompt = pointwise_prompt(settings.prompt_name, settings.instruction)
        self._tokenizer = Tokenizer(endpoint, settings.model)
        self._ready: tuple[Labels, int, Frame] | None = None
        self._opening = asyncio.Lock()
        yes, no = settings.labels
        self._card = make_card(
            model=settings.model,
            kind="pointwise",
            method=settings.kind,
            prompt_name=self._prompt.name,
            prompt=self._prompt.text,
            activation=f"log p({yes}) - log p({no}) of the next token",
            scale="logit",
            parameters={"yes": yes, "no": no},
        )

    @property
    def card(self) -> TeacherCard:
        return self._card

    async def score(self, query: Query, passages: Sequence[Passage]) -> TeacherAnswer:
        """Return the log-odds of yes against no, one a passage, on a grid of 2^-16; see the protocol."""
        labels, limit, frame = await self._opened()
        head = frame.head(defused(query.text))
        items = [frame.item(defused(one.text)) for one in passages]
        named = [(one.doc_id, item) for one, item in zip(passages, items, strict=True)]
        await self._tokenizer.check_length(head, named, limit)
        tally = Tally()
        scores: list[float] = []
        for start in range(0, len(items), self._settings.batch):
            part = items[start : start + self._settings.batch]
            scores.extend(await self._ask(head, part, labels, tally))
        return tally.answer([on_grid(one) for one in scores], "logit")

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _opened(self) -> tuple[Labels, int, Frame]:
        """The label ids, the length limit and the frame, asked for once."""
        async with self._opening:
            if self._ready is None:
                labels, limit = await self._tokenizer.labels(self._settings.labels)
                self._ready = (labels, limit, await self._tokenizer.frame(self._prompt))
            return self._ready

    @abstractmethod
    async def _ask(self, head: str, items: Sequence[str], labels: Labels, tally: Tally) -> list[float]:
        """One score an item."""

    @property
    def _common(self) -> dict[str, object]:
        salt = {"cache_salt": self._settings.cache_salt} if self._settings.cache_salt else {}
        return {
            "model": self._settings.model,
            "add_special_tokens": self._prompt.special_tokens,
            **salt,
        }


class _Probability(Answer):
    index: int
    score: float = Field(ge=0, le=1, allow_inf_nan=False)


class _Probabilities(Answer):
    data: tuple[_Probability, ...]
    usage: Usage = Usage()


class GenerativeScoringTeacher(YesNoTeacher):
    """vLLM's ``/generative_scoring``: one request for many passages of a query."""

    async def _ask(self, head: str, items: Sequence[str], labels: Labels, tally: Tally) -> list[float]:
        yes, no = labels.ids
        found = await self._probabilities(head, items, (yes, no), tally)
        scores = {index: log_odds(p) for index, p in enumerate(found) if 0.0 < p <= _NEAR_ONE}
        # Near 1 the digits of the logit are in the other label's probability; the
        # prompt is in the cache by now.
        rest = [index for index, p in enumerate(found) if p > _NEAR_ONE]
        if rest:
            of_no = await self._probabilities(head, [items[index] for index in rest], (no, yes), tally)
            scores |= {index: -log_odds(p) for index, p in zip(rest, of_no, strict=True) if 0.0 < p < 1.0}
        if lost := [index for index in range(len(items)) if index not in scores]:
            raise TeacherAnswerError(
                f"probabilities of exactly 0 or 1 for {len(lost)} of {len(items)} passages: "
                "they hold no log-odds, and a floor in their place would be a false score"
            )
        return [scores[index] for index in range(len(items))]

    async def _probabilities(
        self, head: str, items: Sequence[str], ids: tuple[int, int], tally: Tally
    ) -> list[float]:
        """The probability of the first of ``ids`` against the second, one an item."""
        body = {
            **self._common,
            "query": head,
            "items": list(items),
            "label_token_ids": list(ids),
            "apply_softmax": True,
            "item_first": False,
        }
        answer = await self._endpoint.post(f"{self._endpoint.root}/generative_scoring", body, _Probabilities)
        tally.add(answer.usage)
        return in_order({one.index: one.score for one in answer.data}, len(answer.data), len(items))


class _Logprobs(Answer):
    top_logprobs: tuple[Mapping[str, float] | None, ...] = ()


class _Choice(Answer):
    index: int
    logprobs: _Logprobs | None = None


class _Completions(Answer):
    choices: tuple[_Choice, ...]
    usage: Usage = Usage()


class CompletionsTeacher(YesNoTeacher):
    """``/v1/completions`` with the log probabilities of the two labels."""

    async def _ask(self, head: str, items: Sequence[str], labels: Labels, tally: Tally) -> list[float]:
        body = {
            **self._common,
            "prompt": [f"{head}{item}" for item in items],
            "max_tokens": 1,
            "temperature": 0,
            # vLLM: exactly these tokens, as "token_id:N".  A server that does not know the
            # field gives its own top ones, and a label that is not among them is an error.
            "logprobs": 2,
            "logprob_token_ids": list(labels.ids),
            "return_tokens_as_token_ids": True,
        }
        answer = await self._endpoint.post(f"{self._endpoint.openai}/completions", body, _Completions)
        tally.add(answer.usage)
        rows = {one.index: _difference(one, labels) for one in answer.choices}
        return in_order(rows, len(answer.choices), len(items))


def _difference(choice: _Choice, labels: Labels) -> float:
    tops = choice.logprobs.top_logprobs if choice.logprobs else ()
    first = (tops[0] if tops else None) or {}
    values = []
    for word, number in zip(labels.words, labels.ids, strict=True):
        value = first.get(f"token_id:{number}", first.get(word))
        if value is None:
            raise TeacherAnswerError(
                f"the label {word!r} (token {number}) is missing from the log probabilities; the server "
                "must know 'logprob_token_ids', as vLLM does: a floor in its place would be a false score"
            )
        if not math.isfinite(value):
            raise TeacherAnswerError(f"the log probability of {word!r} is {value}")
        values.append(value)
    return values[0] - values[1]


def log_odds(probability: float) -> float:
    """Return ``log(p / (1 - p))`` for a probability strictly between 0 and 1."""
    return math.log(probability) - math.log1p(-probability)


def on_grid(score: float) -> float:
    """Return the nearest multiple of 2^-16, so that equal logits of a model are equal scores."""
    return round(score / _GRID) * _GRID


def in_order(rows: Mapping[int, float], answered: int, asked: int) -> list[float]:
    """Return the values of ``rows`` by their index, which must be 0 to ``asked`` - 1, each once.

    Raises:
        TeacherAnswerError: an index is missing, doubled or unknown.
    """
    if answered != asked or rows.keys() != set(range(asked)):
        raise TeacherAnswerError(f"{asked} passages were sent, {answered} scores came back")
    return [rows[index] for index in range(asked)]
