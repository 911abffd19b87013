"""Sentence-transformers folder to exported encoder folder.

::

    python -m indexing.encoders.export SOURCE_FOLDER OUT_FOLDER \\
        [--name NAME] [--source URL] [--licence ID] [--licence-file FILE]
        [--scripts Latin,Greek] [--query-prefix P] [--document-prefix P] [--int8]

The whole pipeline of the folder (transformer, pooling, dense layers,
normalisation) is traced into one ONNX graph, so that the graph and
sentence-transformers cannot disagree about pooling.  Large weights are stored
as fp16 with a cast to fp32 in the graph: half the file, computed in fp32.
The result is compared with the source over many shapes before it is kept.
The same source and package versions give the same bytes.

Needs the ``train`` extra; what it writes needs neither torch nor transformers.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexing.encoders.graph import OPSET, pipeline, write_graph, write_int8
from indexing.encoders.manifest import (
    INT8_MODEL,
    MANIFEST,
    MODEL,
    TOKENIZER,
    Manifest,
    sha256_of,
    weights_sha256,
)
from indexing.encoders.sentence_transformer import (
    max_tokens_of,
    open_sentence_transformer,
    pooling_of,
    prefixes_of,
)
from indexing.errors import EncoderError, WinnowError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
_LENGTHS = (1, 2, 3, 7, 8, 31, 64, 129)
_BATCHES = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the source folder does not say, or says differently."""

    name: str | None = None
    source: str | None = None
    licence: str | None = None
    licence_file: Path | None = None
    scripts: tuple[str, ...] | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    int8: bool = False


def export(source: Path, out: Path, options: ExportOptions) -> Manifest:
    """Write the exported folder ``out`` and return its manifest.

    Raises:
        EncoderError: the source is not a safetensors sentence-transformers
            folder, ``out`` is not empty, or the graph differs from the source
            by more than ``TOLERANCE`` in any component of a unit vector.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    if out.exists() and any(out.iterdir()):
        raise EncoderError(f"{out} is not empty; name a new folder")
    model = open_sentence_transformer(source, eager=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        write_graph(model, folder / MODEL)
        _write_tokenizer(model, folder / TOKENIZER)
        worst = compare(model, folder / MODEL, max_tokens_of(model))
        logger.info("exported graph differs from its source by at most %.2e", worst)
        if not worst <= TOLERANCE:
            raise EncoderError(f"the exported graph differs from {source} by {worst:.2e} (> {TOLERANCE})")
        if options.int8:
            write_int8(folder)
        manifest = _manifest(model, source, folder, options)
        _write_texts(source, folder, manifest, options)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    return manifest


def compare(model: SentenceTransformer, graph: Path, max_tokens: int) -> float:
    """Largest absolute difference of graph and source, over lengths and batch sizes with padding."""
    import torch

    from indexing.encoders.runtime import open_runtime

    runtime = open_runtime(graph, runtime="auto", precision="fp32", threads=0)
    generator = np.random.default_rng(17)
    vocabulary = len(model.tokenizer)
    worst = 0.0
    for length in sorted({min(length, max_tokens) for length in (*_LENGTHS, max_tokens)}):
        for batch in _BATCHES:
            ids = generator.integers(0, vocabulary, (batch, length), dtype=np.int64)
            lengths = generator.integers(1, length + 1, batch)
            lengths[0] = length
            mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
            ids[mask == 0] = model.tokenizer.pad_token_id or 0
            with torch.no_grad():
                want = pipeline(model)(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
            worst = max(worst, float(np.abs(runtime.run(ids, mask) - want).max()))
    return worst


def _write_tokenizer(model: SentenceTransformer, path: Path) -> None:
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise EncoderError("the source has no fast tokenizer (tokenizer.json); none can be exported")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # Sorted keys would reorder the vocabulary; the library's own order is stable.
    path.write_text(tokenizer.to_str(), encoding="utf-8")


def _manifest(model: SentenceTransformer, source: Path, folder: Path, options: ExportOptions) -> Manifest:
    import onnx
    import sentence_transformers
    import torch
    import transformers

    query_prefix, document_prefix = prefixes_of(model)
    dimensions = model.get_embedding_dimension()
    if dimensions is None:
        raise EncoderError(f"{source} does not say how many dimensions its vectors have")
    manifest = Manifest(
        format=1,
        name=options.name or source.resolve().name,
        kind="dense",
        dimensions=dimensions,
        max_tokens=max_tokens_of(model),
        pooling=pooling_of(model),
        scripts=options.scripts,
        query_prefix=query_prefix if options.query_prefix is None else options.query_prefix,
        document_prefix=document_prefix if options.document_prefix is None else options.document_prefix,
        licence=options.licence or _card_field(source, "license") or "not stated by the source",
        source=options.source or source.resolve().name,
        source_weights_sha256=weights_sha256(source.rglob("*.safetensors")),
        files={
            name: sha256_of(folder / name)
            for name in (MODEL, INT8_MODEL, TOKENIZER)
            if (folder / name).is_file()
        },
        made_with={
            "onnx": onnx.__version__,
            "opset": str(OPSET),
            "sentence-transformers": sentence_transformers.__version__,
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
        },
    )
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def _card_field(source: Path, field: str) -> str | None:
    """One plain field of the model card's front matter (``license: mit``)."""
    card = source / "README.md"
    if not card.is_file():
        return None
    head = card.read_text(encoding="utf-8", errors="replace").split("---")
    if len(head) < 3 or head[0].strip():
        return None
    for line in head[1].splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == field and value.strip():
            return value.strip()
    return None


def _write_texts(source: Path, folder: Path, manifest: Manifest, options: ExportOptions) -> None:
    licence_file = options.licence_file
    if licence_file is None and (source / "LICENSE").is_file():
        licence_file = source / "LICENSE"
    if licence_file is not None:
        shutil.copyfile(licence_file, folder / "LICENSE")
    pointer = "Its text is in the file LICENSE beside this one." if licence_file is not None else ""
    notice = f"""\
{manifest.name}

This folder holds a converted copy of the model {manifest.source}.
Licence of the weights: {manifest.licence}. {pointer}

SHA-256 of the source weights (safetensors):
{manifest.source_weights_sha256}

What was changed: the transformer, its pooling and the normalisation were
traced into one ONNX graph, and its large weights are stored in half precision.
Truncation and padding were removed from the tokenizer's settings. Nothing was
trained or fine-tuned. Made with indexing/encoders/export.py.
"""
    lines = [line.rstrip() for line in notice.splitlines()]
    (folder / "NOTICE").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m indexing.encoders.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path, help="sentence-transformers folder with safetensors weights")
    parser.add_argument("out", type=Path, help="folder to write; must not exist or be empty")
    parser.add_argument("--name", help="default: the source folder's name")
    parser.add_argument("--source-name", help="the original model, for NOTICE and manifest")
    parser.add_argument("--licence", help="SPDX id; default: the model card's")
    parser.add_argument("--licence-file", type=Path, help="copied as LICENSE")
    parser.add_argument("--scripts", help="Unicode scripts the model knows, comma separated; default: all")
    parser.add_argument("--query-prefix", help="default: the folder's 'query' prompt")
    parser.add_argument("--document-prefix", help="default: the folder's 'document' prompt")
    parser.add_argument("--int8", action="store_true", help="also write int8 weights (needs onnxruntime)")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = ExportOptions(
        name=args.name,
        source=args.source_name,
        licence=args.licence,
        licence_file=args.licence_file,
        scripts=tuple(args.scripts.split(",")) if args.scripts else None,
        query_prefix=args.query_prefix,
        document_prefix=args.document_prefix,
        int8=args.int8,
    )
    try:
        manifest = export(args.source, args.out, options)
    except WinnowError as error:
        logger.error("%s", error)
        return 1
    size = sum(path.stat().st_size for path in args.out.iterdir())
    sys.stdout.write(f"{args.out}: {manifest.name}, {manifest.dimensions} dimensions, {size / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
