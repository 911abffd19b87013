"""What of a model's stream is shown: no thinking, nothing that a viewer would fetch."""

from __future__ import annotations

from retrieval.generation.links import LinkFilter
from serving.answering.thinking import ThinkingFilter


class ShownText:
    """Feed pieces, get the text to show; ``flush`` gives what was held back."""

    def __init__(self) -> None:
        self._thinking = ThinkingFilter()
        self._links = LinkFilter()

    def feed(self, piece: str) -> str:
        """Return what is sure to be shown as it is."""
        return self._links.feed(self._thinking.feed(piece))

    def flush(self) -> str:
        """Return the rest once nothing more comes."""
        return self._links.feed(self._thinking.flush()) + self._links.flush()
