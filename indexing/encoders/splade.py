"""SPLADE folders through sentence-transformers' ``SparseEncoder`` (extra ``train``).

Source: Formal et al. 2021, "SPLADE" (arXiv 2107.05720).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.encoders.manifest import weights_sha256
from indexing.encoders.protocols import Fingerprint
from indexing.encoders.sentence_transformer import refuse_unsafe_folder
from indexing.encoders.validation import sparse_vector
from indexing.errors import EncoderError, MissingDependencyError
from indexing.records import SparseVector

if TYPE_CHECKING:
    import torch


class SpladeEncoder:
    """A SPLADE folder behind ``SparseEncoder``; its weights are final, the engine adds no IDF.

    Dimensions are the tokenizer's ids.  Works with inference-free folders too,
    whose query side is a table.
    """

    idf = False

    def __init__(self, folder: Path, *, batch_size: int = 32) -> None:
        refuse_unsafe_folder(folder)
        try:
            from sentence_transformers import SparseEncoder
        except ImportError as error:
            raise MissingDependencyError("sentence-transformers", "train", "a SPLADE folder") from error
        try:
            self._model = SparseEncoder(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            ).eval()
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise EncoderError(f"{folder} does not load as a SPLADE model: {error}") from error
        self._folder = folder
        self._batch_size = batch_size

    @cached_property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(
            kind="sparse",
            name=self._folder.resolve().name,
            parameters={
                "weights": weights_sha256(self._folder.rglob("*.safetensors")),
                "max_tokens": self._model.max_seq_length,
                "modules": [type(module).__name__ for module in self._model],
            },
        )

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._encode(texts, self._model.encode_document)

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._encode(texts, self._model.encode_query)

    def term(self, index: int) -> str | None:
        tokenizer = self._model.tokenizer
        if not 0 <= index < len(tokenizer):
            return None
        return str(tokenizer.convert_ids_to_tokens(index))

    def _encode(self, texts: Sequence[str], encode: Callable[..., list[torch.Tensor]]) -> list[SparseVector]:
        if not texts:
            return []
        # Dense rows of one batch at a time: a list keeps the whole call from being one wide matrix.
        rows = encode(
            list(texts),
            batch_size=self._batch_size,
            convert_to_tensor=False,
            convert_to_sparse_tensor=True,
            show_progress_bar=False,
        )
        vectors = []
        for row in rows:
            row = row.coalesce().cpu()
            pairs = zip(row.indices()[0].tolist(), row.values().float().tolist(), strict=True)
            vectors.append(sparse_vector(dict(pairs)))
        return vectors
