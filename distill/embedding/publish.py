"""The folder that comes out: sentence-transformers' own layout, a short card, ``model.json``."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.embedding.data import EmbedData
from distill.embedding.gate import Change, as_fields
from distill.embedding.search import ModelEncoder
from distill.embedding.settings import EmbedSettings
from distill.errors import TrainingError
from distill.model_folder import ModelManifest, TrainingRecord, is_model_folder, read_model_folder
from distill.model_folder import write_model_folder as write_manifest
from distill.students.bases import MINILM
from indexing.encoders.sentence_transformer import max_tokens_of, open_sentence_transformer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

_PROBE = "The quick brown fox jumps over the lazy dog."
_TOLERANCE = 1e-4


def manifest_of(
    settings: EmbedSettings,
    data: EmbedData,
    model: SentenceTransformer,
    found: Sequence[Change],
    steps: int,
    name: str,
) -> ModelManifest:
    """Return the manifest of the result; ``name`` stands in where the settings have none."""
    recipe: dict[str, Any] = json.loads(settings.model_dump_json(exclude={"name", "licence", "scripts"}))
    recipe["base"] = Path(settings.base).name
    recipe["negatives"]["guide"] = Path(settings.negatives.guide).name
    return ModelManifest(
        kind="dense",
        name=settings.name or name,
        base=Path(settings.base).name,
        scripts=settings.scripts if settings.scripts is not None else _base_scripts(settings.base),
        max_tokens=max_tokens_of(model),
        training=TrainingRecord(
            data=data.fingerprint(),
            lists=len(data.lists),
            queries=data.queries,
            recipe=recipe,
            seed=settings.seed,
            steps=steps,
            commit=_commit(),
        ),
        teachers=tuple({"teacher": one} for one in sorted({one.teacher for one in data.lists})),
        metrics=json.loads(json.dumps(as_fields(list(found)))),
        licence=settings.licence,
    )


def _base_scripts(base: str) -> tuple[str, ...] | None:
    if base == MINILM:
        return ("Latin",)
    folder = Path(base)
    return read_model_folder(folder).scripts if is_model_folder(folder) else None


def publish(model: SentenceTransformer, manifest: ModelManifest, folder: Path) -> ModelManifest:
    """Write the model and its manifest to ``folder``, whole or not at all; return it with its hashes."""
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    # The library's own card would quote training texts.
    model.save_pretrained(str(scratch), create_model_card=False)
    what = f"{manifest.name}: {manifest.base}, fine-tuned. See model.json."
    card = f"---\nlicense: {manifest.licence}\n---\n{what}\n"
    (scratch / "README.md").write_text(card, encoding="utf-8")
    _refuse_changed(model, scratch)
    complete = write_manifest(scratch, manifest)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    log.info("wrote %s", folder)
    return complete


def _refuse_changed(model: SentenceTransformer, folder: Path) -> None:
    """Raise when the folder does not give the vectors that passed the gate; a loader fills gaps silently."""
    written = ModelEncoder(open_sentence_transformer(folder)).encode_documents([_PROBE])
    difference = float(abs(written - ModelEncoder(model).encode_documents([_PROBE])).max())
    if not difference < _TOLERANCE:
        raise TrainingError(f"{folder} was written with other weights: a vector differs by {difference:.2g}")


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "rev-parse", "HEAD"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
    )
    return done.stdout.strip() or None
