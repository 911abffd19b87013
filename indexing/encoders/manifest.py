"""The manifest of an exported model folder: what it is, and the hash of every file.

::

    all-MiniLM-L6-v2/
    ├── manifest.json    this record
    ├── model.onnx       input_ids, attention_mask -> unit vectors (batch, dimensions)
    ├── tokenizer.json   a Hugging Face `tokenizers` file, no truncation, no padding
    ├── LICENSE          the weights' licence, when the source brought its text
    └── NOTICE           where the weights come from and what was changed

A folder with anything else in it is refused: pickled weights (``.bin``,
``.pt``, ``.pkl``) can run code when they are loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexing.encoders.protocols import Fingerprint
from indexing.errors import EncoderError

MANIFEST = "manifest.json"
MODEL = "model.onnx"
INT8_MODEL = "model.int8.onnx"
TOKENIZER = "tokenizer.json"
UNHASHED = frozenset({MANIFEST, "NOTICE", "LICENSE", "README.md"})
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})


class Manifest(BaseModel):
    """What an exported dense encoder is; everything that changes a vector is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    name: str = Field(min_length=1)
    kind: Literal["dense"]
    dimensions: int = Field(ge=1)
    max_tokens: int = Field(ge=3)
    pooling: str
    scripts: tuple[str, ...] | None = Field(description="None: every script")
    query_prefix: str = ""
    document_prefix: str = ""
    licence: str
    source: str
    source_weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    files: Mapping[str, str] = Field(description="file name -> SHA-256")
    made_with: Mapping[str, str] = Field(description="package -> version")

    @property
    def fingerprint(self) -> Fingerprint:
        return dense_fingerprint(
            name=self.name,
            weights=self.source_weights_sha256,
            max_tokens=self.max_tokens,
            pooling=self.pooling,
            query_prefix=self.query_prefix,
            document_prefix=self.document_prefix,
        )


def dense_fingerprint(
    *, name: str, weights: str, max_tokens: int, pooling: str, query_prefix: str, document_prefix: str
) -> Fingerprint:
    """The fingerprint of a dense model, however it is run."""
    return Fingerprint(
        kind="dense",
        name=name,
        parameters={
            "weights": weights,
            "max_tokens": max_tokens,
            "pooling": pooling,
            "query_prefix": query_prefix,
            "document_prefix": document_prefix,
        },
    )


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of ``folder`` after checking every file against it.

    Hashing 46 MB takes about 0.03 s with SHA extensions and 0.2 s without.

    Raises:
        EncoderError: no manifest, a malformed one, an unknown or pickled
            file, a file that is missing or differs from its hash.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise EncoderError(f"{path} is not a manifest of an exported encoder: {error}") from error
    for required in (MODEL, TOKENIZER):
        if required not in manifest.files:
            raise EncoderError(f"{path} lists no {required}; export the model again")
    for name in manifest.files:
        if Path(name).name != name:
            raise EncoderError(f"{path} lists {name!r}; only plain names in the folder itself are accepted")
    refuse_pickles(folder)
    _check_files(folder, manifest.files)
    return manifest


def refuse_pickles(folder: Path) -> None:
    """Raise when the folder, at any depth, holds weights in a format that can run code."""
    found = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in PICKLES
    )
    if found:
        raise EncoderError(
            f"{folder} holds pickled files ({', '.join(found)}), which can run code when loaded; "
            "accepted are safetensors and ONNX. To convert them without running code: "
            f"python -m indexing.encoders.convert {folder} OUT_FOLDER"
        )


def refuse_pickled_shards(folder: Path) -> None:
    """Raise when a loader that is told to read safetensors would open a pickle all the same.

    An index of shards may name any file, and a library that finds no
    ``model*.safetensors`` takes ``pytorch_model*.bin``.
    """
    for index in folder.rglob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(f"{index} is not a readable index of weights: {error}") from error
        wrong = sorted(str(name) for name in shards if not _is_plain_safetensors(name))
        if wrong:
            raise EncoderError(f"{index} names weights that are not safetensors in its folder: {wrong[0]!r}")
    if any(folder.glob("pytorch_model*.bin")) and not any(folder.glob("model*.safetensors")):
        raise EncoderError(
            f"{folder} has its weights in pickles, which can run code when loaded; accepted is safetensors. "
            f"To convert them without running code: python -m indexing.encoders.convert {folder} OUT_FOLDER"
        )


def _is_plain_safetensors(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name


def sha256_of(path: Path) -> str:
    """SHA-256 of one file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(files: Iterable[Path]) -> str:
    """One hash over a model's weight files: a single file's own, else over the sorted hashes."""
    hashes = sorted((path.name, sha256_of(path)) for path in files)
    if not hashes:
        raise EncoderError("no weights to hash; accepted are safetensors files")
    if len(hashes) == 1:
        return hashes[0][1]
    return hashlib.sha256("\n".join(f"{digest}  {name}" for name, digest in hashes).encode()).hexdigest()


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    unknown = sorted(present - set(expected) - UNHASHED)
    if unknown:
        raise EncoderError(
            f"{folder} holds files its manifest does not list: {', '.join(unknown)}; "
            "remove them or export the model again"
        )
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise EncoderError(f"{path} is missing; export the model again")
        if sha256_of(path) != digest:
            raise EncoderError(f"{path} differs from the hash in its manifest; export the model again")
