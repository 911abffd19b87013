"""From a chat answer to a permutation, mended where it has to be."""

from __future__ import annotations

import re
from dataclasses import dataclass

# [3] in any of the bracket shapes models use; \d takes full-width digits too.
_NUMBER = r"[\[【［]\s*(\d{1,4})\s*[\]】］]"
_CHAIN = re.compile(rf"{_NUMBER}(?:\s*[>＞≻,，]\s*{_NUMBER})+")
_BARE_CHAIN = re.compile(r"\d{1,4}(?:\s*[>＞≻]\s*\d{1,4})+")


@dataclass(frozen=True, slots=True)
class Permutation:
    """An order of ``count`` things, as indices from 0, best first."""

    order: tuple[int, ...]
    missing: int = 0  # put at the end, in the order they came in
    doubled: int = 0
    out_of_range: int = 0

    @property
    def mended(self) -> bool:
        return bool(self.missing or self.doubled or self.out_of_range)


def parse_permutation(text: str, count: int) -> Permutation:
    """Return the order that ``text`` names, for numbers 1 to ``count``.

    Thinking is left out.  Where the answer has chains such as ``[2] > [1]``,
    the longest counts (the last of equals), because prose around it may
    mention single numbers.  A number named twice counts where it stood first;
    a number outside the range is dropped; one that is not named goes to the end.
    """
    named = [number - 1 for number in _numbers(without_thinking(text))]
    inside = [index for index in named if 0 <= index < count]
    kept = list(dict.fromkeys(inside))
    missing = [index for index in range(count) if index not in set(kept)]
    return Permutation(
        order=(*kept, *missing),
        missing=len(missing),
        doubled=len(inside) - len(kept),
        out_of_range=len(named) - len(inside),
    )


def without_thinking(text: str) -> str:
    """``text`` after its thinking; an answer cut inside its thinking leaves what stood before it."""
    # Some chat templates open the tag in the prompt, so the answer has only its end.
    answer = text.rpartition("</think>")[2]
    return answer.partition("<think>")[0]


def _numbers(text: str) -> list[int]:
    chains = [found[0] for found in _CHAIN.finditer(text)]
    bracketed = [[int(number) for number in re.findall(_NUMBER, chain)] for chain in chains]
    if bracketed:
        return max(reversed(bracketed), key=len)
    if bare := [[int(n) for n in re.findall(r"\d+", found[0])] for found in _BARE_CHAIN.finditer(text)]:
        return max(reversed(bare), key=len)
    return [int(number) for number in re.findall(_NUMBER, text)]
