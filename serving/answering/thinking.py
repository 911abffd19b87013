"""Keeps a model's ``<think>`` block out of a stream, whatever pieces it comes in."""

from __future__ import annotations

_OPEN = "<think>"
_CLOSE = "</think>"


class ThinkingFilter:
    """Feed pieces, get the text outside of thinking; ``flush`` gives what was held back.

    >>> filter = ThinkingFilter()
    >>> [filter.feed(piece) for piece in ("<th", "ink>hm</thi", "nk>Yes", " <b")] + [filter.flush()]
    ['', '', 'Yes', ' <b', '']
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside = False

    def feed(self, piece: str) -> str:
        """Return what is sure to be outside."""
        self._held += piece
        shown = ""
        while True:
            mark = _CLOSE if self._inside else _OPEN
            at = self._held.find(mark)
            if at < 0:
                keep = _begun(self._held, mark)
                if not self._inside:
                    shown += self._held[: len(self._held) - keep]
                self._held = self._held[len(self._held) - keep :] if keep else ""
                return shown
            if not self._inside:
                shown += self._held[:at]
            self._held = self._held[at + len(mark) :]
            self._inside = not self._inside

    def flush(self) -> str:
        """Return the rest once nothing more comes; an unfinished block is dropped."""
        rest = "" if self._inside else self._held
        self._held = ""
        return rest


def _begun(text: str, mark: str) -> int:
    """Return how many characters at the end could begin the mark."""
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)
