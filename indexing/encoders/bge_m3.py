"""BGE-M3: dense vector and lexical weights of a text from one forward pass.

The model is loaded by FlagEmbedding (extra ``flag``); the batches are ours,
because its own loop runs the first batch twice, fails on empty input and is
not thread-safe.  The two heads are read from safetensors: the original
folder's ``.pt`` files are pickles and are refused, and FlagEmbedding itself
starts with random heads when it finds none.

Source: Chen et al. 2024, "M3-Embedding" (arXiv 2402.03216).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from indexing.encoders.dense import pack
from indexing.encoders.manifest import dense_fingerprint, refuse_pickles, weights_sha256
from indexing.encoders.protocols import Fingerprint
from indexing.encoders.sentence_transformer import refuse_unsafe_folder
from indexing.encoders.validation import sparse_vector, unit_rows
from indexing.errors import EncoderError, MissingDependencyError
from indexing.records import Embedding, FloatArray, SparseVector

SPARSE_HEAD = "sparse_linear.safetensors"
_UNWEIGHED = ("cls_token_id", "eos_token_id", "pad_token_id", "unk_token_id")


def load_with_head(folder: Path, head: str) -> Any:
    """Return FlagEmbedding's model of ``folder`` with one of its two linear heads.

    ``head`` is the head's file: ``sparse_linear.safetensors`` or ``colbert_linear.safetensors``.

    Raises:
        EncoderError: the folder holds pickles or custom code, lacks the head, or does not load.
        MissingDependencyError: FlagEmbedding is not installed.
    """
    refuse_pickles(folder)
    refuse_unsafe_folder(folder)
    if not (folder / head).is_file():
        raise EncoderError(f"{folder / head} is missing: without it the head's weights are random")
    try:
        from FlagEmbedding import BGEM3FlagModel
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError("FlagEmbedding", "flag", "BGE-M3") from error
    try:
        loaded = BGEM3FlagModel(str(folder), use_fp16=False, trust_remote_code=False)
        getattr(loaded.model, Path(head).stem).load_state_dict(load_file(folder / head))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EncoderError(f"{folder} does not load as a BGE-M3 model: {error}") from error
    return loaded


class BgeM3Model:
    """A BGE-M3 folder; calls from several threads wait for each other.

    ``max_tokens`` defaults to 512, FlagEmbedding's own limit; the model takes 8192.
    """

    def __init__(self, folder: Path, *, max_tokens: int = 512, token_budget: int = 4096) -> None:
        loaded = load_with_head(folder, SPARSE_HEAD)
        self._device = loaded.target_devices[0]
        self._network: Any = loaded.model.to(self._device).eval()
        self._tokenizer: Any = loaded.tokenizer
        self._unweighed = {getattr(self._tokenizer, name) for name in _UNWEIGHED}
        self._folder = folder
        self._token_budget = token_budget
        self._max_tokens = max_tokens
        self._lock = threading.Lock()

    @cached_property
    def dense_fingerprint(self) -> Fingerprint:
        return dense_fingerprint(
            name=self._folder.resolve().name,
            weights=self._weights,
            max_tokens=self._max_tokens,
            pooling="cls",
            query_prefix="",
            document_prefix="",
        )

    @cached_property
    def sparse_fingerprint(self) -> Fingerprint:
        parameters = {"weights": self._weights, "max_tokens": self._max_tokens}
        return Fingerprint("sparse", self._folder.resolve().name, parameters)

    @cached_property
    def _weights(self) -> str:
        return weights_sha256(self._folder.glob("*.safetensors"))

    @cached_property
    def dimensions(self) -> int:
        return int(self._network.model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> tuple[FloatArray, list[SparseVector]]:
        """Return ``(len(texts), dimensions)`` unit rows and as many lexical vectors."""
        dense = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        sparse = [SparseVector((), ())] * len(texts)
        if not texts:
            return dense, sparse
        with self._lock:
            ids = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)["input_ids"]
            for rows in pack([len(tokens) for tokens in ids], self._token_budget):
                vectors, weights = self._forward([ids[row] for row in rows])
                dense[rows] = vectors
                for row, row_weights in zip(rows, weights, strict=True):
                    sparse[row] = self._lexical(ids[row], row_weights)
        return unit_rows(dense, self.dimensions), sparse

    def term(self, index: int) -> str | None:
        if not 0 <= index < len(self._tokenizer):
            return None
        return str(self._tokenizer.convert_ids_to_tokens(index)).lstrip("\u2581")

    def _forward(self, ids: list[list[int]]) -> tuple[FloatArray, FloatArray]:
        """One pass over one batch: vectors ``(batch, dimensions)`` and token weights ``(batch, tokens)``."""
        import torch

        batch = self._tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt")
        with torch.inference_mode():
            out = self._network(dict(batch.to(self._device)), return_dense=True, return_sparse=True)
        weights = out["sparse_vecs"].squeeze(-1).float().cpu().numpy()
        return out["dense_vecs"].float().cpu().numpy(), weights

    def _lexical(self, ids: Sequence[int], weights: FloatArray) -> SparseVector:
        """A token said twice keeps its greater weight; special tokens have none."""
        best: dict[int, float] = {}
        for index, weight in zip(ids, weights.tolist(), strict=False):  # weights run on over the padding
            if index not in self._unweighed and not weight <= best.get(index, 0.0):
                best[index] = weight
        return sparse_vector(best)


class BgeM3Dense:
    """The dense half behind ``DenseEncoder``, for a pair whose sparse side is another's."""

    scripts: frozenset[str] | None = None

    def __init__(self, model: BgeM3Model) -> None:
        self._model = model

    @property
    def fingerprint(self) -> Fingerprint:
        return self._model.dense_fingerprint

    @property
    def dimensions(self) -> int:
        return self._model.dimensions

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._model.encode(texts)[0]

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._model.encode(texts)[0]


class BgeM3Sparse:
    """The lexical half behind ``SparseEncoder``; its weights are final, the engine adds no IDF."""

    idf = False

    def __init__(self, model: BgeM3Model) -> None:
        self._model = model

    @property
    def fingerprint(self) -> Fingerprint:
        return self._model.sparse_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._model.encode(texts)[1]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._model.encode(texts)[1]

    def term(self, index: int) -> str | None:
        return self._model.term(index)


class BgeM3Pair:
    """Both halves behind ``EncoderPair``: one forward pass a text, every script known."""

    sparse_idf = False

    def __init__(self, model: BgeM3Model) -> None:
        self._model = model

    @property
    def dense_fingerprint(self) -> Fingerprint:
        return self._model.dense_fingerprint

    @property
    def sparse_fingerprint(self) -> Fingerprint:
        return self._model.sparse_fingerprint

    @property
    def dimensions(self) -> int:
        return self._model.dimensions

    def embed_documents(self, texts: Sequence[str]) -> list[Embedding]:
        dense, sparse = self._model.encode(texts)
        return [Embedding(vector, terms) for vector, terms in zip(dense, sparse, strict=True)]

    def embed_queries(self, texts: Sequence[str]) -> list[Embedding]:
        return self.embed_documents(texts)

    def sparse_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._model.encode(texts)[1]

    def document_length(self, text: str) -> int:
        return 0

    def with_average_length(self, average: float) -> BgeM3Pair:
        return self

    def coverage(self, text: str) -> float:
        return 1.0

    def term(self, index: int) -> str | None:
        return self._model.term(index)
