"""BGE-M3's multi-vector output as a reranker: every writing system, one model for all three signals.

The score is the mean over the query's tokens of the greatest cosine with one
of the passage's tokens, as ``compute_score`` of FlagEmbedding gives it (a
test holds them equal); [CLS] is left out, the end token is not.

Source: Chen et al. 2024, "M3-Embedding" (arXiv 2402.03216), section 3.2.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexing.encoders.bge_m3 import load_with_head
from indexing.encoders.dense import pack
from indexing.errors import EncoderError
from indexing.records import FloatArray
from indexing.settings import RerankSettings
from retrieval.reranker import RerankScores, checked_scores

COLBERT_HEAD = "colbert_linear.safetensors"


class BgeM3Reranker:
    """A BGE-M3 folder behind the ``Reranker`` protocol (``rerank.backend = "bge-m3"``)."""

    kind = "late-interaction"
    scripts: frozenset[str] | None = None

    def __init__(self, folder: Path, settings: RerankSettings) -> None:
        loaded = load_with_head(folder, COLBERT_HEAD)
        self._device = loaded.target_devices[0]
        self._network: Any = loaded.model.to(self._device).eval()
        self._tokenizer: Any = loaded.tokenizer
        self._max_tokens = settings.max_tokens
        self._budget = settings.batch_size * settings.max_tokens
        self._name = f"bge-m3:{folder.name}"
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the scores in the order of ``texts``; one call runs at a time.

        Raises:
            EncoderError: the model failed, or gave a number that is not finite.
        """
        if not texts:
            return RerankScores(np.zeros(0, dtype=np.float32), ())
        with self._lock:
            ids = self._tokenizer([query, *texts], truncation=True, max_length=self._max_tokens + 1)[
                "input_ids"
            ]
            cut = [len(tokens) > self._max_tokens for tokens in ids]
            ids = [self._fitted(tokens) for tokens in ids]
            (asked,) = self._vectors(ids[:1])
            logits = np.empty(len(texts), dtype=np.float32)
            for rows in pack([len(tokens) for tokens in ids[1:]], self._budget):
                found = self._vectors([ids[row + 1] for row in rows])
                logits[rows] = [(asked @ one.T).max(axis=1).mean() for one in found]
        return checked_scores(self._name, logits, tuple(cut[0] or one for one in cut[1:]))

    def _fitted(self, ids: list[int]) -> list[int]:
        """One token too many was asked for, to see whether there are more; the end token stays."""
        return ids if len(ids) <= self._max_tokens else [*ids[: self._max_tokens - 1], ids[-1]]

    def _vectors(self, ids: list[list[int]]) -> list[FloatArray]:
        """Unit vectors of each text's tokens behind [CLS], ``(n_tokens - 1, dim)`` each."""
        import torch

        batch = self._tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt")
        try:
            with torch.inference_mode():
                out = self._network(
                    dict(batch.to(self._device)), return_dense=False, return_colbert_vecs=True
                )
        except (RuntimeError, ValueError, IndexError) as error:
            raise EncoderError(f"reranker {self._name} failed: {error}") from error
        vectors = out["colbert_vecs"].float().cpu().numpy()
        return [row[: len(tokens) - 1] for row, tokens in zip(vectors, ids, strict=True)]
