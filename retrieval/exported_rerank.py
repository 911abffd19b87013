"""An exported cross-encoder on OpenVINO or ONNX Runtime: no torch, no transformers.

:mod:`retrieval.exported_manifest` describes the folder, ``python -m distill
export`` writes it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexing.encoders.manifest import TOKENIZER
from indexing.errors import EncoderError
from indexing.settings import RerankSettings
from retrieval.exported_manifest import RerankerManifest, read_reranker_manifest
from retrieval.exported_parts import open_graph, open_tokenizer
from retrieval.packing import batches
from retrieval.rerank import QUERY_SHARE, Reranker, RerankScores, checked_scores


def open_exported(folder: Path, settings: RerankSettings) -> Reranker:
    """Return the exported reranker in ``folder``, of whichever kind its manifest says.

    Raises:
        SettingsError: the folder has no manifest.
        EncoderError: the folder is damaged, or its graph does not load.
    """
    manifest = read_reranker_manifest(folder)
    if manifest.kind == "late-interaction":
        from retrieval.late_interaction import ExportedLateInteraction

        return ExportedLateInteraction(folder, manifest, settings)
    return ExportedReranker(folder, settings, manifest)


class ExportedReranker:
    """An exported cross-encoder behind the ``Reranker`` protocol.

    Pairs are packed by length into batches of ``batch_size`` times the token
    limit at most, padding included.
    """

    kind = "cross-encoder"

    def __init__(
        self, folder: Path, settings: RerankSettings, manifest: RerankerManifest | None = None
    ) -> None:
        manifest = manifest or read_reranker_manifest(folder)
        if manifest.kind != self.kind:
            raise EncoderError(f"{folder} holds a {manifest.kind} model, not a {self.kind}")
        self.scripts = None if manifest.scripts is None else frozenset(manifest.scripts)
        self._tokenizer = open_tokenizer(folder / TOKENIZER)
        self._max_tokens = min(settings.max_tokens, manifest.max_tokens)
        self._tokenizer.enable_truncation(self._max_tokens, strategy="only_second")
        self._runtime = open_graph(folder, manifest, settings)
        self._budget = settings.batch_size * self._max_tokens
        self._name = f"{self._runtime.name}:{folder.name}"
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def engine(self) -> str:
        """Runtime and precision in use: "openvino bf16"."""
        return f"{self._runtime.name} {self._runtime.precision}"

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the logits in the order of ``texts``; one call runs at a time.

        Raises:
            EncoderError: the engine failed, or gave a logit that is not finite.
        """
        if not texts:
            return RerankScores(np.zeros(0, dtype=np.float32), ())
        with self._lock:
            fitted = self._fit(query)
            pairs = self._tokenizer.encode_batch([(fitted, text) for text in texts])
            logits = np.empty(len(texts), dtype=np.float32)
            for rows, ids, mask in batches(pairs, self._budget):
                logits[rows] = self._runtime.run(ids, mask).reshape(len(rows))
        truncated = tuple(fitted != query or bool(pair.overflowing) for pair in pairs)
        return checked_scores(self._name, logits, truncated)

    def _fit(self, query: str) -> str:
        """Return the query cut to its share of the token budget."""
        limit = int(self._max_tokens * QUERY_SHARE)
        # Cut by one call of its own: alone, a text is "first" and must not be truncated.
        self._tokenizer.no_truncation()
        offsets = self._tokenizer.encode(query, add_special_tokens=False).offsets
        self._tokenizer.enable_truncation(self._max_tokens, strategy="only_second")
        return query if len(offsets) <= limit else query[: offsets[limit - 1][1]]
