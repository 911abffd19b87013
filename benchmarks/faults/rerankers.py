"""A reranker that fails as told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexing.records import FloatArray
from retrieval.reranker import RerankScores

_LONGEST_S = 120.0


class FaultyReranker:
    """Ranks by length; ``fault`` is "", "raises", "hangs", "nan", "too few" or "nothing"."""

    name = "faulty"
    kind = "cross-encoder"
    scripts: frozenset[str] | None = None

    def __init__(self) -> None:
        self.fault = ""
        self.released = threading.Event()

    def load(self, _: Path) -> FaultyReranker:
        """Return itself, whatever the folder."""
        return self

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the lengths of the texts, unless there is a fault."""
        logits: FloatArray = np.asarray([len(text) for text in texts], dtype=np.float32)
        truncated = (False,) * len(texts)
        if self.fault == "raises":
            raise RuntimeError("the model's runtime is broken")
        if self.fault == "hangs":
            self.released.wait(_LONGEST_S)
        if self.fault == "nan":
            logits[0] = np.nan
        if self.fault == "too few":
            return RerankScores(logits[:-1], truncated[:-1])
        if self.fault == "nothing":
            return None  # type: ignore[return-value]
        return RerankScores(logits, truncated)
