"""The ways to score a pair that are compared, all with the same weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from indexing.errors import EncoderError, MissingDependencyError
from indexing.records import FloatArray
from indexing.settings import RerankSettings
from retrieval.exported_rerank import ExportedReranker

log = logging.getLogger(__name__)

Lists = Sequence[tuple[str, Sequence[str]]]
Score = Callable[[Lists], list[FloatArray]]

FLAG = "FlagReranker.compute_score"
SENTENCE_TRANSFORMERS = "CrossEncoder.predict"
REFERENCE = "winnow openvino fp32"
OURS: dict[str, tuple[str, str]] = {
    REFERENCE: ("openvino", "fp32"),
    "winnow openvino bf16": ("openvino", "bf16"),
    "winnow openvino int8": ("openvino", "int8"),
    "winnow onnxruntime fp32": ("onnxruntime", "fp32"),
    "winnow onnxruntime int8": ("onnxruntime", "int8"),
}


def open_sides(model: Path, exported: Path, *, threads: int, max_tokens: int) -> dict[str, Score]:
    """Return every side that runs here; what does not is logged and left out."""
    openers: dict[str, Callable[[], Score]] = {
        FLAG: lambda: _flag(model, threads, max_tokens),
        SENTENCE_TRANSFORMERS: lambda: _sentence_transformers(model, threads, max_tokens),
        **{name: lambda name=name: _ours(exported, name, threads, max_tokens) for name in OURS},  # type: ignore[misc]
    }
    sides = {}
    for name, opened in openers.items():
        try:
            sides[name] = opened()
        except (EncoderError, MissingDependencyError) as error:
            log.warning("left out, %s: %s", name, error)
    return sides


def _flag(model: Path, threads: int, max_tokens: int) -> Score:
    """FlagEmbedding as its README calls it: fp32 on a CPU, its own batch size of 128."""
    try:
        import torch
        from FlagEmbedding import FlagReranker
    except ImportError as error:
        raise MissingDependencyError("FlagEmbedding", "flag", "measuring it") from error
    torch.set_num_threads(threads)
    loaded = FlagReranker(str(model), use_fp16=False, devices="cpu", max_length=max_tokens)

    def score(lists: Lists) -> list[FloatArray]:
        pairs = [[query, text] for query, texts in lists for text in texts]
        return _split(np.asarray(loaded.compute_score(pairs), dtype=np.float32), lists)

    return score


def _sentence_transformers(model: Path, threads: int, max_tokens: int) -> Score:
    try:
        import torch
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingDependencyError("sentence-transformers", "train", "measuring it") from error
    torch.set_num_threads(threads)
    loaded = CrossEncoder(
        str(model),
        device="cpu",
        max_length=max_tokens,
        activation_fn=torch.nn.Identity(),
        local_files_only=True,
    )

    def score(lists: Lists) -> list[FloatArray]:
        pairs = [(query, text) for query, texts in lists for text in texts]
        return _split(np.asarray(loaded.predict(pairs, show_progress_bar=False), dtype=np.float32), lists)

    return score


def _ours(exported: Path, name: str, threads: int, max_tokens: int) -> Score:
    runtime, precision = OURS[name]
    settings = RerankSettings.model_validate(
        {"runtime": runtime, "precision": precision, "threads": threads, "max_tokens": max_tokens}
    )
    reranker = ExportedReranker(exported, settings)
    return lambda lists: [one.logits for one in reranker.score_lists(lists)]


def _split(logits: FloatArray, lists: Lists) -> list[FloatArray]:
    ends = np.cumsum([len(texts) for _, texts in lists])
    return np.split(logits, ends[:-1])
