"""Rerankers from folders: exported ones, and cross-encoders through the libraries that know them."""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexing.encoders.manifest import refuse_pickled_shards
from indexing.encoders.reranker_manifest import RERANKER_MANIFEST
from indexing.errors import EncoderError, MissingDependencyError, SettingsError
from indexing.settings import RerankSettings
from retrieval.reranker import QUERY_SHARE, Reranker, RerankScores, checked_scores

log = logging.getLogger(__name__)

MANIFEST = RERANKER_MANIFEST
STUDENT_MANIFEST = "model.json"


def load_reranker(settings: RerankSettings, home: Path | None = None) -> Reranker | None:
    """Return the configured reranker, or None when there is none.

    ``home`` is where promoted models are looked for when ``rerank.model`` is
    "auto"; see :func:`retrieval.registry.chosen_model`.

    Raises:
        SettingsError: the model is not a folder.
        MissingDependencyError: the backend's package is not installed.
        EncoderError: the folder is not a reranker that is safe to load.
    """
    from retrieval.registry import chosen_model

    folder = chosen_model(settings, home)
    return None if folder is None else load_folder(folder, settings)


def load_folder(folder: Path, settings: RerankSettings) -> Reranker:
    """Return the reranker in ``folder``, whatever ``rerank.model`` says; raises as :func:`load_reranker`.

    With ``rerank.cascade.model`` it comes behind that one.
    """
    if settings.cascade.model is None:
        return _load(folder, settings)
    from retrieval.cascade import CascadeReranker

    first = _load(settings.cascade.model.expanduser(), settings)
    second = _load(folder, settings)
    return CascadeReranker(first, second, settings.cascade, min_coverage=settings.min_coverage)


def _load(folder: Path, settings: RerankSettings) -> Reranker:
    backend = settings.backend
    if backend == "exported" or (backend == "auto" and (folder / MANIFEST).is_file()):
        from retrieval.exported_rerank import open_exported

        return open_exported(folder, settings)
    if backend == "bge-m3":
        from retrieval.bge_m3_rerank import BgeM3Reranker

        return BgeM3Reranker(folder, settings)
    refuse_unsafe(folder)
    refuse_headless(folder)
    if backend == "auto":
        backend = "sentence-transformers" if _installed("sentence_transformers") else "flag-embedding"
    log.info("loading reranker %s through %s", folder.name, backend)
    if backend == "flag-embedding":
        return FlagReranker(folder, settings)
    return SentenceTransformersReranker(folder, settings)


class _CrossEncoder:
    """What the backends share: one lock, one token budget, one check of the output."""

    kind = "cross-encoder"

    def __init__(self, name: str, folder: Path, tokenizer: Any, settings: RerankSettings) -> None:
        self._name = name
        self.scripts = _student_scripts(folder)
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._batch_size = settings.batch_size
        longest = getattr(tokenizer, "model_max_length", settings.max_tokens)
        self._max_tokens = int(min(settings.max_tokens, longest))

    @property
    def name(self) -> str:
        return self._name

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the logits in the order of ``texts`` (see :class:`Reranker`)."""
        if not texts:
            return RerankScores(np.zeros(0, dtype=np.float32), ())
        # Neither backend is thread-safe: fast tokenizers keep their truncation
        # setting in shared state, and the model is one set of buffers.
        with self._lock:
            try:
                fitted, tokens = self._fit(query)
                truncated = self._truncated(tokens, texts, query_cut=fitted != query)
                logits = np.asarray(self._logits(fitted, list(texts)), dtype=np.float32)
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                raise EncoderError(f"reranker {self._name} failed: {error}") from error
        return checked_scores(self._name, logits, truncated)

    def _fit(self, query: str) -> tuple[str, int]:
        """Return the query cut to its share of the token budget, and its length in tokens."""
        limit = int(self._max_tokens * QUERY_SHARE)
        encoded = self._tokenizer(query, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        count = len(encoded["input_ids"])
        if count <= limit:
            return query, count
        return query[: encoded["offset_mapping"][limit - 1][1]], limit

    def _truncated(self, query_tokens: int, texts: Sequence[str], *, query_cut: bool) -> tuple[bool, ...]:
        if query_cut:
            return (True,) * len(texts)
        encoded = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)
        room = self._max_tokens - query_tokens - self._tokenizer.num_special_tokens_to_add(pair=True)
        return tuple(len(ids) > room for ids in encoded["input_ids"])

    def _logits(self, query: str, texts: list[str]) -> Any:
        raise NotImplementedError


class SentenceTransformersReranker(_CrossEncoder):
    """Any cross-encoder folder, through ``sentence_transformers.CrossEncoder``."""

    def __init__(self, folder: Path, settings: RerankSettings) -> None:
        _require("sentence_transformers", "sentence-transformers", "train")
        import torch
        from sentence_transformers import CrossEncoder

        try:
            model = CrossEncoder(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                activation_fn=torch.nn.Identity(),
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise EncoderError(f"{folder} is not a cross-encoder that loads: {error}") from error
        one_label(folder, model.num_labels)
        super().__init__(f"sentence-transformers:{folder.name}", folder, model.tokenizer, settings)
        self._model = model

    def _logits(self, query: str, texts: list[str]) -> Any:
        budget = {"text": {"truncation": "only_second", "max_length": self._max_tokens}}
        return self._model.predict(
            [(query, text) for text in texts],
            batch_size=self._batch_size,
            show_progress_bar=False,
            processing_kwargs=budget,
        )


class FlagReranker(_CrossEncoder):
    """bge-reranker and its kin, loaded by ``FlagEmbedding.FlagReranker``.

    The forward pass is our own: with transformers 5 ``compute_score`` decodes
    its tokens and tokenizes them again, runs its first batch twice, and draws
    progress bars on stderr (FlagEmbedding 1.4.2, ``utils/tokenizer_compat.py``
    and ``reranker/encoder_only/base.py``).  A test holds the logits equal.
    """

    def __init__(self, folder: Path, settings: RerankSettings) -> None:
        _require("FlagEmbedding", "FlagEmbedding", "flag")
        import FlagEmbedding
        import torch

        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        try:
            loaded = FlagEmbedding.FlagReranker(
                str(folder), use_fp16=False, trust_remote_code=False, devices=device, normalize=False
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise EncoderError(f"{folder} is not a cross-encoder that loads: {error}") from error
        one_label(folder, loaded.model.config.num_labels)
        super().__init__(f"flag-embedding:{folder.name}", folder, loaded.tokenizer, settings)
        self._loaded = loaded
        self._model = loaded.model.float().to(device).eval()
        self._device = device

    def _logits(self, query: str, texts: list[str]) -> Any:
        import torch

        by_length = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        logits = np.empty(len(texts), dtype=np.float32)
        for start in range(0, len(texts), self._batch_size):
            rows = by_length[start : start + self._batch_size]
            inputs = self._tokenizer(
                [query] * len(rows),
                [texts[i] for i in rows],
                truncation="only_second",
                max_length=self._max_tokens,
                padding=True,
                return_tensors="pt",
            ).to(self._device)
            with torch.inference_mode():
                logits[rows] = self._model(**inputs, return_dict=True).logits.view(-1).cpu().numpy()
        return logits


def refuse_unsafe(folder: Path) -> None:
    """Refuse a folder that is no model, or whose loading could run code.

    Pickled weights and ``auto_map`` both execute what the folder says
    (CVE-2025-32434, CVE-2026-5241).
    """
    config = folder / "config.json"
    if not config.is_file():
        raise SettingsError(
            f"{str(folder)!r} is not a model folder (a folder with config.json, or an exported one with "
            f"{MANIFEST}); models are not downloaded"
        )
    try:
        fields = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{config} is not valid JSON: {error}") from error
    if "auto_map" in fields:
        raise EncoderError(f"{config} asks to run code from the folder (auto_map); that is refused")
    if not any(folder.glob("*.safetensors")):
        raise EncoderError(f"{folder} holds no *.safetensors weights; pickled weights are refused")
    refuse_pickled_shards(folder)


def refuse_headless(folder: Path) -> None:
    """Refuse an encoder without a classification head: the libraries would draw one at random.

    Such a folder scores, with confidence, and means nothing.  A student of
    late interaction is one: it runs exported.
    """
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = [str(one) for one in fields.get("architectures") or ()]
    if any("SequenceClassification" in one for one in named):
        return
    raise EncoderError(
        f"{folder} is no cross-encoder: its architecture is {', '.join(named) or 'not named'}, without a "
        f"head that scores a pair; a late-interaction student runs after: "
        f"python -m distill export {folder} OUT_FOLDER"
    )


def one_label(folder: Path, labels: int) -> None:
    if labels != 1:
        raise EncoderError(f"{folder} has {labels} output labels; a reranker has 1")


def _student_scripts(folder: Path) -> frozenset[str] | None:
    """The scripts in a student's ``model.json``; a folder from elsewhere says nothing and reads all."""
    manifest = folder / STUDENT_MANIFEST
    if not manifest.is_file():
        return None
    try:
        scripts = json.loads(manifest.read_text(encoding="utf-8")).get("scripts")
        return None if scripts is None else frozenset(map(str, scripts))
    except (ValueError, AttributeError, TypeError) as error:
        raise EncoderError(f"{manifest} is not a manifest of a student: {error}") from error


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _require(module: str, package: str, extra: str) -> None:
    if not _installed(module):
        raise MissingDependencyError(package, extra, "this reranker")
