"""Where a quotation stands in a text, give or take case, white space and the form of its letters."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# A quotation may end its sentence where the source goes on, and the other way round.
_ENDS = " .,;:。，；："
# A prompt shows a document's control characters not at all and these in place of others: ``neutral``.
_SHOWN_FOR = {"‹": "<", "〔": "["}
_UNSEEN = ("Cc", "Cf")
# White space, a run of what has one form (ASCII, Han), or one other character.
_RUN = re.compile(r"(\s+)|([!-~\u4e00-\u9fff]+)|.", re.DOTALL)


def find_quote(quote: str, text: str) -> tuple[int, int] | None:
    """Return the offsets of the quoted words in the text, None when they do not stand there.

    A model changes line breaks, capitals, and full-width or composed letters
    when it copies; it must not change words.
    """
    wanted = _folded(quote)[0].strip(_ENDS)
    if not wanted:
        return None
    folded, offsets = _folded(text)
    at = folded.find(wanted)
    return None if at < 0 else (offsets[at], offsets[at + len(wanted) - 1] + 1)


@lru_cache(maxsize=64)
def _folded(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the text as it is compared, and for each of its characters the offset it comes from."""
    parts: list[str] = []
    offsets: list[int] = []
    for run in _RUN.finditer(text):
        if run[1]:
            if parts and parts[-1] != " ":
                parts.append(" ")
                offsets.append(run.start())
            continue
        folded = run[0].lower() if run[2] else _character(run[0])
        if not folded:
            continue
        parts.append(folded)
        offsets.extend(range(run.start(), run.end()) if run[2] else [run.start()] * len(folded))
    return "".join(parts), tuple(offsets)


def _character(one: str) -> str:
    """Return what a character compares as; nothing for one that nobody sees.

    Decomposed letter by letter: composing would join letters of different
    offsets.
    """
    plain = unicodedata.normalize("NFKD", _SHOWN_FOR.get(one, one)).casefold()
    seen = (part for part in plain if unicodedata.category(part) not in _UNSEEN)
    return "".join(" " if part.isspace() else part for part in seen)
