"""An exported cross-encoder on OpenVINO or ONNX Runtime: no torch, no transformers.

The folder, written by ``python -m retrieval.export``::

    my-reranker/
    ├── reranker.json    name, token limit, source, hash of every file
    ├── model.onnx       input_ids, attention_mask -> logits (batch,)
    └── tokenizer.json   a Hugging Face `tokenizers` file
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexing.encoders.dense import pack
from indexing.encoders.manifest import MODEL, TOKENIZER, refuse_pickles, sha256_of
from indexing.encoders.runtime import open_runtime
from indexing.errors import EncoderError, SettingsError
from indexing.settings import RerankSettings
from retrieval.rerank import MANIFEST, QUERY_SHARE, RerankScores, checked_scores

if TYPE_CHECKING:
    from tokenizers import Encoding


class RerankerManifest(BaseModel):
    """What an exported cross-encoder is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str = Field(min_length=1)
    max_tokens: int = Field(ge=8)
    source: str
    source_weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    files: Mapping[str, str] = Field(description="file name -> SHA-256")


class ExportedReranker:
    """An exported folder behind the ``Reranker`` protocol.

    Pairs are packed by length into batches of ``batch_size`` times the token
    limit at most, padding included.
    """

    def __init__(self, folder: Path, settings: RerankSettings) -> None:
        from tokenizers import Tokenizer

        manifest = _read(folder)
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the package raises bare Exception
            raise EncoderError(f"{folder / TOKENIZER} is not a tokenizer file: {error}") from error
        self._max_tokens = min(settings.max_tokens, manifest.max_tokens)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._max_tokens, strategy="only_second")
        self._runtime = open_runtime(
            folder / MODEL, runtime=settings.runtime, precision=settings.precision, threads=settings.threads
        )
        self._budget = settings.batch_size * self._max_tokens
        self._name = f"{self._runtime.name}:{manifest.name}"
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

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
            for rows in pack([len(pair.ids) for pair in pairs], self._budget):
                logits[rows] = self._run([pairs[row] for row in rows])
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

    def _run(self, pairs: Sequence[Encoding]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        width = max(len(pair.ids) for pair in pairs)
        ids = np.zeros((len(pairs), width), dtype=np.int64)
        mask = np.zeros((len(pairs), width), dtype=np.int64)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair.ids)] = pair.ids
            mask[row, : len(pair.ids)] = 1
        return self._runtime.run(ids, mask).reshape(len(pairs))


def _read(folder: Path) -> RerankerManifest:
    """Return the manifest after checking every file against its hash."""
    path = folder / MANIFEST
    try:
        manifest = RerankerManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"rerank.model names {str(folder)!r}, which holds no {MANIFEST}; "
            f"make one with: python -m retrieval.export SOURCE_FOLDER {folder}"
        ) from error
    except ValidationError as error:
        raise EncoderError(f"{path} is not a manifest of an exported reranker: {error}") from error
    refuse_pickles(folder)
    if set(manifest.files) != {MODEL, TOKENIZER}:
        raise EncoderError(f"{path} must list {MODEL} and {TOKENIZER} and nothing else")
    for name, digest in manifest.files.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise EncoderError(f"{folder / name} is missing or differs from its hash; export the model again")
    return manifest
