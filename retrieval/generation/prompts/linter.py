"""How much of one prompt a cache that holds another one can serve, and what ended it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.generation.prompts.packing import CountTokens
from retrieval.generation.protocol import Message


@dataclass(frozen=True, slots=True)
class PrefixReport:
    """What two prompts share from their first token on.

    Attributes:
        shared_tokens: tokens of the common text, by the model's tokenizer; a
            cache serves the whole blocks of them (16 on a GPU, 128 in vLLM's
            CPU build).
        first_tokens: tokens of the first prompt; second_tokens likewise.
        line: number, from 1, of the line where they part; None when one
            begins with the whole of the other.
        first_line: that line in the first prompt; second_line in the second.
    """

    shared_tokens: int
    first_tokens: int
    second_tokens: int
    line: int | None
    first_line: str = ""
    second_line: str = ""

    @property
    def share(self) -> float:
        """Part of the second prompt that the first one's cache can serve."""
        return self.shared_tokens / self.second_tokens if self.second_tokens else 0.0

    def __str__(self) -> str:
        head = f"{self.shared_tokens} of {self.second_tokens} tokens shared ({self.share:.0%})"
        if self.line is None:
            return f"{head}; one prompt begins with the other"
        return f"{head}; parted at line {self.line}: {self.first_line!r} against {self.second_line!r}"


async def compare_prompts(
    first: Sequence[Message], second: Sequence[Message], count: CountTokens
) -> PrefixReport:
    """Return what the two prompts share; roles count, a chat template's own tokens do not."""
    one, other = _flat(first), _flat(second)
    common = os.path.commonprefix([one, other])  # noqa: RUF071 - character by character is what is meant
    counted = (await count([common, one, other])).counts
    if common in (one, other):
        return PrefixReport(counted[0], counted[1], counted[2], None)
    at = common.count("\n")
    return PrefixReport(
        counted[0], counted[1], counted[2], at + 1, one.split("\n")[at], other.split("\n")[at]
    )


def _flat(messages: Sequence[Message]) -> str:
    return "\n".join(f"{one.role}:\n{one.content}" for one in messages)
