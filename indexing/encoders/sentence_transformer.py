"""Dense vectors from any sentence-transformers folder, through the library itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.encoders.manifest import dense_fingerprint, refuse_pickled_shards, weights_sha256
from indexing.encoders.protocols import Fingerprint
from indexing.encoders.validation import unit_rows
from indexing.errors import EncoderError, MissingDependencyError
from indexing.records import FloatArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def refuse_unsafe_folder(folder: Path) -> None:
    """Raise when loading the folder could run code or would reach for the network.

    Pickled weights beside safetensors are accepted because they are never
    opened: the loader is told to read safetensors only.

    Raises:
        EncoderError: no folder, no safetensors weights where pickled ones are,
            or a configuration that names code of its own.
    """
    if not folder.is_dir():
        raise EncoderError(f"{folder} is not a folder; models are read from local folders only")
    configs = list(folder.rglob("config.json")) + list(folder.glob("*config*.json"))
    for path in configs:
        config = _json(path)
        if isinstance(config, dict) and "auto_map" in config:
            raise EncoderError(f"{path} names code of its own (auto_map); remote code is refused")
    modules = folder / "modules.json"
    parts = [folder]
    if modules.is_file():
        for module in _json(modules):
            if not str(module.get("type", "")).startswith("sentence_transformers."):
                raise EncoderError(f"{modules} names code of its own ({module.get('type')}); it is refused")
            parts.append(folder / str(module.get("path", "")))
    for part in parts:
        names = {path.name for path in part.iterdir()} if part.is_dir() else set()
        pickled = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl")))
        if pickled and not any(name.endswith(".safetensors") for name in names):
            raise EncoderError(
                f"{part} has only pickled weights ({', '.join(pickled)}), which can run code when loaded; "
                "accepted is safetensors. To convert them without running code: "
                f"python -m indexing.encoders.convert {folder} OUT_FOLDER"
            )
    if not any(folder.rglob("*.safetensors")):
        raise EncoderError(f"{folder} holds no safetensors weights")
    refuse_pickled_shards(folder)


def open_sentence_transformer(folder: Path, *, eager: bool = False) -> SentenceTransformer:
    """Load the folder offline, safetensors only, on the CPU or GPU torch finds.

    ``eager`` picks the plain attention implementation on the CPU, the one that traces.
    """
    refuse_unsafe_folder(folder)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingDependencyError(
            "sentence-transformers", "train", "a sentence-transformers folder"
        ) from error
    options: dict[str, Any] = {"use_safetensors": True}
    if eager:
        options["attn_implementation"] = "eager"
    try:
        model = SentenceTransformer(
            str(folder),
            device="cpu" if eager else None,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs=options,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EncoderError(f"{folder} does not load as a sentence-transformers model: {error}") from error
    return model.eval()


def max_tokens_of(model: SentenceTransformer) -> int:
    """The folder's own limit, special tokens included."""
    limit = model.max_seq_length
    if not limit or limit > 1_000_000:  # tokenizers without a limit say 10**30
        raise EncoderError("the model folder states no max_seq_length in sentence_bert_config.json")
    return int(limit)


def pooling_of(model: SentenceTransformer) -> str:
    """The modules between token embeddings and vector, by name: "mean", "cls+Dense"."""
    steps: list[str] = []
    modules: list[Any] = list(model)[1:]
    for module in modules:
        kind = type(module).__name__
        if kind == "Pooling":
            mode = module.pooling_mode
            if not getattr(module, "include_prompt", True):
                raise EncoderError("pooling that leaves the prompt out is not supported")
            steps.append(mode if isinstance(mode, str) else ",".join(mode))
        elif kind != "Normalize":  # vectors are always normalised
            steps.append(kind)
    return "+".join(steps) or "none"


def prefixes_of(model: SentenceTransformer) -> tuple[str, str]:
    """What the folder puts before queries and before documents."""
    prompts = dict(model.prompts)
    default = prompts.get(model.default_prompt_name or "", "") or ""
    query = prompts.get("query") or default
    document = prompts.get("document") or prompts.get("passage") or prompts.get("corpus") or default
    return query, document


class SentenceTransformerEncoder:
    """A sentence-transformers folder as it is; needs the ``train`` extra.

    Its fingerprint equals that of the folder's own export, so a collection
    built with one can be searched with the other.
    """

    def __init__(self, folder: Path, *, scripts: frozenset[str] | None = None, batch_size: int = 32) -> None:
        self._folder = folder
        self._model = open_sentence_transformer(folder)
        self._batch_size = batch_size
        self._prefixes = prefixes_of(self._model)
        self.scripts = scripts

    @cached_property
    def fingerprint(self) -> Fingerprint:
        query_prefix, document_prefix = self._prefixes
        return dense_fingerprint(
            name=self._folder.resolve().name,
            weights=weights_sha256(self._folder.rglob("*.safetensors")),
            max_tokens=max_tokens_of(self._model),
            pooling=pooling_of(self._model),
            query_prefix=query_prefix,
            document_prefix=document_prefix,
        )

    @cached_property
    def dimensions(self) -> int:
        dimensions = self._model.get_embedding_dimension()
        if dimensions is None:
            raise EncoderError(f"{self._folder} does not say how many dimensions its vectors have")
        return dimensions

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._encode(texts, self._prefixes[1])

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._encode(texts, self._prefixes[0])

    def _encode(self, texts: Sequence[str], prefix: str) -> FloatArray:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        vectors = self._model.encode(
            list(texts),
            prompt=prefix or None,
            batch_size=self._batch_size,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return unit_rows(np.asarray(vectors, dtype=np.float32), self.dimensions)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} is not readable JSON: {error}") from error
