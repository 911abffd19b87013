"""Texts to vectors: the one function that turns settings into an encoder pair.

Nothing heavy is imported here; each kind of model is imported when it is asked for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from indexing.encoders.protocols import DenseEncoder, EncoderPair, Fingerprint, SparseEncoder
from indexing.errors import EncoderError, MissingDependencyError

if TYPE_CHECKING:
    from indexing.settings import EncoderSettings

__all__ = [
    "DenseEncoder",
    "EncoderPair",
    "Fingerprint",
    "SparseEncoder",
    "load_encoders",
    "model_folder",
]

MODELS = Path(__file__).resolve().parent.parent / "models"
BM25 = "bm25"
_ACCEPTED = (
    "accepted are a shipped name, a folder made by `python -m indexing.encoders.export`, "
    "a sentence-transformers folder, a BGE-M3 folder or (sparse side) a SPLADE folder, "
    "all with safetensors or ONNX weights"
)


def load_encoders(settings: EncoderSettings, *, average_length: float | None = None) -> EncoderPair:
    """Return the pair that ``settings`` name, loaded and ready.

    With ``settings.late_interaction`` it also makes token vectors; that model
    is loaded by the first document.

    ``average_length`` is BM25's mean document length in terms; queries do not
    need it, documents do (``pair.with_average_length`` sets it later).

    Raises:
        EncoderError: a name that is neither shipped nor a folder, a folder of
            no accepted kind, weights that differ from their hash or are pickled.
        MissingDependencyError: the folder needs a package of an extra.
    """
    pair = _load_pair(settings, average_length)
    if not settings.late_interaction:
        return pair
    from indexing.encoders.token_pair import TokenPair
    from indexing.encoders.tokens import TokenEncoder

    return TokenPair(pair, TokenEncoder(settings))


def _load_pair(settings: EncoderSettings, average_length: float | None) -> EncoderPair:
    from indexing.encoders.pair import ComposedPair

    dense = model_folder(settings.dense)
    dense_kind = _kind(dense, "dense")
    if settings.threads and (dense_kind != "exported" or settings.sparse != BM25):
        _limit_torch(settings.threads)
    if settings.sparse != BM25:
        sparse = model_folder(settings.sparse)
        if dense_kind == "bge-m3" and sparse.resolve() == dense.resolve():
            from indexing.encoders.bge_m3 import BgeM3Model, BgeM3Pair

            return BgeM3Pair(BgeM3Model(dense, token_budget=settings.token_budget))
    return ComposedPair(
        _dense(dense, dense_kind, settings),
        _sparse(settings, average_length),
        min_coverage=settings.min_coverage,
    )


def model_folder(name: str) -> Path:
    """The folder behind a shipped name or a path.

    Raises:
        EncoderError: neither; the message lists what is shipped.
    """
    shipped = sorted(path.name for path in MODELS.iterdir() if path.is_dir()) if MODELS.is_dir() else []
    if name in shipped:
        return MODELS / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    raise EncoderError(
        f"no model {name!r}: it is neither shipped ({', '.join(shipped) or 'none is'}) nor a folder here; "
        f"{_ACCEPTED}"
    )


def _kind(
    folder: Path, side: Literal["dense", "sparse"]
) -> Literal["exported", "bge-m3", "splade", "sentence-transformers"]:
    if (folder / "manifest.json").is_file():
        return "exported"
    if any((folder / f"sparse_linear{suffix}").is_file() for suffix in (".safetensors", ".pt")):
        return "bge-m3"
    if side == "sparse" and _is_splade(folder):
        return "splade"
    if side == "dense" and any((folder / name).is_file() for name in ("modules.json", "config.json")):
        return "sentence-transformers"
    raise EncoderError(f"{folder} is not a {side} model of a known kind; {_ACCEPTED}")


def _is_splade(folder: Path) -> bool:
    """Whether sentence-transformers would make a sparse encoder of the folder."""
    modules = _read_json(folder / "modules.json")
    if isinstance(modules, list):
        return any(".sparse_encoder." in str(module.get("type", "")) for module in modules)
    config = _read_json(folder / "config.json")
    names = config.get("architectures") or [] if isinstance(config, dict) else []
    return any(str(name).endswith("ForMaskedLM") for name in names)


def _read_json(path: Path) -> object:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{path} is not JSON: {error}") from error


def _limit_torch(threads: int) -> None:
    """Bound torch's threads in this process; exported models bring their own setting."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", "train", "this kind of model folder") from error
    torch.set_num_threads(threads)


def _dense(folder: Path, kind: str, settings: EncoderSettings) -> DenseEncoder:
    if kind == "exported":
        from indexing.encoders.dense import OnnxDenseEncoder

        return OnnxDenseEncoder(
            folder,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            token_budget=settings.token_budget,
        )
    if kind == "bge-m3":
        from indexing.encoders.bge_m3 import BgeM3Dense, BgeM3Model

        return BgeM3Dense(BgeM3Model(folder, token_budget=settings.token_budget))
    from indexing.encoders.sentence_transformer import SentenceTransformerEncoder

    return SentenceTransformerEncoder(folder)


def _sparse(settings: EncoderSettings, average_length: float | None) -> SparseEncoder:
    if settings.sparse == BM25:
        from indexing.encoders.bm25 import Bm25Encoder

        return Bm25Encoder(
            k1=settings.bm25_k1,
            b=settings.bm25_b,
            stem=settings.bm25_stem,
            question_words=settings.bm25_question_words == "keep",
            average_length=average_length,
        )
    folder = model_folder(settings.sparse)
    kind = _kind(folder, "sparse")
    if kind == "bge-m3":
        from indexing.encoders.bge_m3 import BgeM3Model, BgeM3Sparse

        return BgeM3Sparse(BgeM3Model(folder, token_budget=settings.token_budget))
    if kind == "splade":
        from indexing.encoders.splade import SpladeEncoder

        return SpladeEncoder(folder)
    raise EncoderError(f"{folder} is an exported dense encoder and has no sparse side; {_ACCEPTED}")
