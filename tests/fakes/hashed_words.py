"""An encoder of queries that hashes words, slow or broken on demand."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence

import numpy as np

from indexing.records import Embedding, SparseVector


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def word_id(word: str) -> int:
    return int.from_bytes(word.encode()[:4].ljust(4, b"\0"), "big")


class FakeEncoder:
    """Hashes words; counts its calls, and may be slow or broken on demand."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.batches: list[list[str]] = []
        self.error: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()

    def embed_queries(self, texts: Sequence[str]) -> list[Embedding]:
        self.batches.append(list(texts))
        self.gate.wait(10)
        time.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return [self.embed(text) for text in texts]

    def embed(self, text: str) -> Embedding:
        indices = sorted({word_id(word) for word in words(text)})
        dense = np.zeros(64, dtype=np.float32)
        for index in indices:
            dense[index % 64] += 1.0
        dense /= max(float(np.linalg.norm(dense)), 1e-9)
        return Embedding(dense, SparseVector(tuple(indices), (1.0,) * len(indices)))
