"""The part of a vLLM server's API that a yes/no teacher stands on: its tokenizer and its limits.

As vLLM 0.32 answers.  ``/generative_scoring`` cuts a prompt that is too long
at its end without a word, so the end of the passage and the question are gone
and every such passage gets one and the same score; the length is therefore
checked here, before anything is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill.errors import TeacherAnswerError, TeacherRefusedError
from distill.teachers.http import Answer, Endpoint
from distill.teachers.prompts import PointwisePrompt

_QUERY, _PASSAGE = "@@QUERY@@", "@@PASSAGE@@"
# Special tokens the server may add, and the one it generates.
_RESERVE = 8


class _Tokens(Answer):
    tokens: tuple[int, ...]
    max_model_len: int


class _Text(Answer):
    prompt: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The two words a teacher chooses between, and their token ids."""

    words: tuple[str, str]
    ids: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before and after the query and the passage, as text."""

    before: str
    between: str
    after: str

    def head(self, query: str) -> str:
        return f"{self.before}{query}{self.between}"

    def item(self, passage: str) -> str:
        return f" {passage}{self.after}"


class Tokenizer:
    """The server's ``/tokenize`` and ``/detokenize``."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model

    async def labels(self, words: tuple[str, str]) -> tuple[Labels, int]:
        """Return the ids of ``words`` and the longest prompt the server takes, in tokens.

        Raises:
            TeacherRefusedError: a word is not one token, or both are the same one.
        """
        ids, limit = [], 0
        for word in words:
            tokens = await self._tokens({"prompt": word, "add_special_tokens": False})
            if len(tokens.tokens) != 1:
                raise TeacherRefusedError(
                    f"the label {word!r} is {len(tokens.tokens)} tokens for model {self._model!r}; "
                    "it must be one: choose other labels"
                )
            ids.append(tokens.tokens[0])
            limit = tokens.max_model_len
        if ids[0] == ids[1]:
            raise TeacherRefusedError(
                f"the labels {words[0]!r} and {words[1]!r} are the same token, {ids[0]}"
            )
        return Labels(words, (ids[0], ids[1])), limit

    async def count(self, text: str) -> int:
        """Return the number of tokens of ``text``, special ones left out."""
        return len((await self._tokens({"prompt": text, "add_special_tokens": False})).tokens)

    async def frame(self, prompt: PointwisePrompt) -> Frame:
        """Return the text around query and passage, as the server's chat template lays it out.

        Raises:
            TeacherAnswerError: the template changes or repeats the message.
        """
        text = f"{prompt.cut(_QUERY)}{prompt.item(_PASSAGE)}"
        if prompt.chat:
            tokens = await self._tokens(
                {
                    "messages": [{"role": "user", "content": text}],
                    "add_generation_prompt": True,
                    "chat_template_kwargs": {"enable_thinking": False},
                }
            )
            body = {"model": self._model, "tokens": tokens.tokens}
            found = await self._endpoint.post(f"{self._endpoint.root}/detokenize", body, _Text)
            if text not in found.prompt:
                raise TeacherAnswerError(
                    f"the chat template of model {self._model!r} changes the message; "
                    "use the prompt 'yes-no', which needs no template"
                )
            text = found.prompt
        before, _, rest = text.partition(_QUERY)
        between, _, after = rest.partition(f" {_PASSAGE}")
        if _PASSAGE in after or _QUERY in after:
            raise TeacherAnswerError(f"the chat template of model {self._model!r} repeats the message")
        return Frame(before, between, after)

    async def check_length(self, head: str, items: Sequence[tuple[str, str]], limit: int) -> None:
        """Raise unless every prompt fits into ``limit`` tokens; ``items`` are passage ids with texts.

        A byte-level tokenizer never makes more tokens than bytes, so only a
        long text is sent to be counted.

        Raises:
            TeacherRefusedError: names the passages that are too long.
        """
        room = limit - _RESERVE
        suspects = [(name, text) for name, text in items if len((head + text).encode()) > room]
        if not suspects:
            return
        fixed = await self.count(head)
        counts = [(name, fixed + await self.count(text)) for name, text in suspects]
        if too_long := [f"{name} ({count} tokens)" for name, count in counts if count > room]:
            raise TeacherRefusedError(
                f"too long for the server, which takes {limit} tokens: {', '.join(too_long[:5])}"
                f"{' and more' if len(too_long) > 5 else ''}; shorten the passages, or raise --max-model-len"
            )

    async def _tokens(self, body: dict[str, object]) -> _Tokens:
        url = f"{self._endpoint.root}/tokenize"
        return await self._endpoint.post(url, {"model": self._model, **body}, _Tokens)
