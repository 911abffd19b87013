"""A listwise teacher: permutations by a chat model over a sliding window.

The procedure of RankGPT (Sun et al. 2023, https://arxiv.org/abs/2304.09542):
a window of passages is ranked at the end of the list, then moves towards its
front by ``step``, so the best ones are carried along.  Any server with
``/v1/chat/completions`` will do.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Self

from distill.errors import TeacherAnswerError
from distill.records import Passage, Query
from distill.teachers.http import Answer, Endpoint, Usage
from distill.teachers.permutation import Permutation, parse_permutation
from distill.teachers.prompts import listwise_prompt
from distill.teachers.protocol import TeacherAnswer, TeacherCard, make_card
from distill.teachers.settings import TeacherSettings
from distill.teachers.tally import Tally

logger = logging.getLogger(__name__)

_WORD = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")


class _Message(Answer):
    content: str | None = None


class _Choice(Answer):
    message: _Message
    finish_reason: str | None = None


class _Chat(Answer):
    choices: tuple[_Choice, ...]
    usage: Usage = Usage()


class ListwiseTeacher:
    """A chat model that orders passages; a passage's score is minus its rank."""

    def __init__(self, settings: TeacherSettings, endpoint: Endpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._prompt = listwise_prompt(settings.instruction)
        shown: dict[str, str | int | float] = {
            "window": settings.window,
            "step": settings.step,
            "passes": settings.passes,
            "max_passage_words": settings.max_passage_words,
        }
        if settings.temperature is not None:
            shown["temperature"] = settings.temperature
        if settings.thinking is not None:
            shown["thinking"] = int(settings.thinking)
        self._card = make_card(
            model=settings.model,
            kind="listwise",
            method=settings.kind,
            prompt_name="permutation",
            prompt=self._prompt.text,
            activation="minus the rank",
            scale="rank",
            parameters=shown,
        )

    @property
    def card(self) -> TeacherCard:
        return self._card

    async def score(self, query: Query, passages: Sequence[Passage]) -> TeacherAnswer:
        """Return minus the rank of each passage, -1 the best; ranks are of this list only."""
        tally = Tally()
        order = list(range(len(passages)))
        for _ in range(self._settings.passes):
            for start, end in windows(len(order), self._settings.window, self._settings.step):
                part = order[start:end]
                found = await self._rank(query, [passages[index] for index in part], tally)
                order[start:end] = [part[index] for index in found.order]
        scores = [0.0] * len(order)
        for rank, index in enumerate(order, start=1):
            scores[index] = -float(rank)
        return tally.answer(scores, "rank")

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _rank(self, query: Query, passages: Sequence[Passage], tally: Tally) -> Permutation:
        texts = [shortened(one.text, self._settings.max_passage_words) for one in passages]
        url = f"{self._endpoint.openai}/chat/completions"
        answer = await self._endpoint.post(url, self._body(query, texts), _Chat)
        tally.add(answer.usage)
        if not answer.choices:
            raise TeacherAnswerError(f"{url} answered without a choice")
        choice = answer.choices[0]
        found = parse_permutation(choice.message.content or "", len(texts))
        if found.missing > self._settings.max_missing_share * len(texts):
            cut = "; it was cut at max_tokens" if choice.finish_reason == "length" else ""
            raise TeacherAnswerError(
                f"the answer leaves out {found.missing} of {len(texts)} passages{cut}: "
                f"{' '.join((choice.message.content or '').split())[-200:]!r}"
            )
        if found.mended:
            tally.repairs += 1
            logger.debug(
                "permutation mended for %s: %d missing, %d doubled, %d out of range",
                query.query_id,
                found.missing,
                found.doubled,
                found.out_of_range,
            )
        return found

    def _body(self, query: Query, texts: Sequence[str]) -> dict[str, object]:
        settings = self._settings
        body: dict[str, object] = {
            "model": settings.model,
            "messages": self._prompt.messages(query.text, texts),
            settings.max_tokens_name: settings.max_tokens,
        }
        # Fields that not every server knows are sent only where they were asked for.
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": settings.thinking}
        if settings.cache_salt is not None:
            body["cache_salt"] = settings.cache_salt
        return body


def windows(count: int, window: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the windows ``(start, end)`` over ``count`` passages, from the end to the front.

    >>> list(windows(30, 20, 10))
    [(10, 30), (0, 20)]
    >>> list(windows(25, 20, 10))
    [(5, 25), (0, 20)]
    """
    if count < 2:
        return
    end = count
    while True:
        start = max(0, end - window)
        # The last window is as wide as the others, so that no call ranks only a few.
        yield start, min(count, start + window)
        if start == 0:
            return
        end -= step


def shortened(text: str, words: int) -> str:
    """Return the first ``words`` words of ``text`` on one line; a Chinese character is a word."""
    line = " ".join(text.split())
    for number, found in enumerate(_WORD.finditer(line)):
        if number == words:
            return line[: found.start()].rstrip()
    return line
