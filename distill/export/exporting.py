"""A student's folder to an exported one: graph, tokenizer, measured variants, manifest."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distill.errors import DistillError
from distill.export.pools import Pool
from distill.export.sources import Source, open_source
from distill.export.variants import GateBounds, measure_variants
from indexing.encoders.graph import store_as_fp16, write_int8
from indexing.encoders.manifest import INT8_MODEL, MODEL, TOKENIZER, sha256_of, weights_sha256
from indexing.errors import EncoderError, MissingDependencyError
from retrieval.export import compare, write_graph, write_tokenizer
from retrieval.exported_manifest import RerankerManifest, Variant
from retrieval.rerank import MANIFEST

logger = logging.getLogger(__name__)

# Half-precision storage rounds every weight to 11 bits; the outputs follow by less than this.
FP16_TOLERANCE = 1e-2
_TOKENS = 512  # where neither the student nor the caller says
_LARGEST = 2_000_000_000  # bytes of one ONNX file
_WITH_FILE = ("onnxruntime", "int8")
_TEXTS = ("README.md", "MODEL_CARD.md", "LICENSE", "NOTICE")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the source does not say, and what the gate measures on."""

    name: str | None = None
    licence: str | None = None
    scripts: tuple[str, ...] | None = None
    max_tokens: int | None = None
    int8: bool = True
    pools: Sequence[Pool] = ()
    bounds: GateBounds = field(default_factory=GateBounds)
    card: Path | None = None


def export_model(source: Path, out: Path, options: ExportOptions | None = None) -> RerankerManifest:
    """Write the exported folder ``out`` and return its manifest.

    Without pools nothing is measured, so nothing but fp32 is chosen by itself
    and no int8 file is written.

    Raises:
        DistillError: ``out`` is not empty.
        EncoderError: the source is not safe to load or no reranker, or its
            graph gives other outputs.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    options = options or ExportOptions()
    if out.exists() and any(out.iterdir()):
        raise DistillError(f"{out} is not empty; name a new folder")
    opened = open_source(source)
    longest = min(opened.longest, options.max_tokens or (opened.longest if opened.manifest else _TOKENS))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        folder = Path(scratch) / (options.name or out.name)
        folder.mkdir()
        stored, difference = _write_model(opened, folder / MODEL, longest)
        write_tokenizer(opened.tokenizer, folder / TOKENIZER)
        manifest = _manifest(opened, folder, options, longest)
        facts = {"stored": stored, "largest_output_difference": float(f"{difference:.2e}")}
        manifest = manifest.model_copy(update={"metrics": {**manifest.metrics, "export": facts}})
        variants = _measured(folder, manifest, options)
        if not any(one.kept and (one.runtime, one.precision) == _WITH_FILE for one in variants):
            (folder / INT8_MODEL).unlink(missing_ok=True)
        manifest = manifest.model_copy(update={"variants": variants, "files": _hashes(folder)})
        _write_manifest(folder, manifest)
        _copy_texts(source, folder, options)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    return manifest


def _write_model(opened: Source, path: Path, longest: int) -> tuple[str, float]:
    """Write the graph with half-precision weights, or with whole ones where halves change too much."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("onnx", "train", "exporting a reranker") from error
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as scratch:
        # A graph beyond 2 GB is traced into many files; read back, they are one.
        traced = Path(scratch) / MODEL
        late = opened.kind == "late-interaction"
        write_graph(opened.module, traced, output="embeddings" if late else "logits", tokens_axis=late)
        whole = onnx.load(traced)
        half = onnx.load(traced)
        store_as_fp16(half)
        _save(half, path)
        try:
            return "fp16", compare(opened.module, path, opened.tokenizer, longest, FP16_TOLERANCE)
        except EncoderError as error:
            logger.warning("half-precision storage changes the outputs (%s); storing fp32", error)
        _save(whole, path)
        return "fp32", compare(opened.module, path, opened.tokenizer, longest)


def _save(graph: object, path: Path) -> None:
    import onnx

    if not isinstance(graph, onnx.ModelProto):
        raise TypeError("an ONNX model is needed")
    if graph.ByteSize() > _LARGEST:
        raise EncoderError("the graph is larger than 2 GB, which one ONNX file cannot hold")
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _manifest(opened: Source, folder: Path, options: ExportOptions, longest: int) -> RerankerManifest:
    student = opened.manifest
    return RerankerManifest(
        kind=opened.kind,
        name=options.name or (student.name if student else opened.folder.resolve().name),
        scripts=options.scripts or (student.scripts if student else None),
        max_tokens=longest,
        interaction=opened.interaction,
        licence=options.licence or (student.licence if student else "not stated"),
        source=student.base if student else opened.folder.resolve().name,
        source_weights_sha256=weights_sha256(opened.folder.rglob("*.safetensors")),
        training=student.training.model_dump(mode="json") if student else {},
        teachers=student.teachers if student else (),
        metrics=student.metrics if student else {},
        files=_hashes(folder),
    )


def _measured(folder: Path, manifest: RerankerManifest, options: ExportOptions) -> tuple[Variant, ...]:
    if not options.pools:
        why = "not measured: no data was given to the gate"
        return (Variant(runtime="openvino", precision="bf16", kept=False, why=why),)
    if options.int8:
        before = logging.root.manager.disable
        logging.disable(logging.INFO)  # the quantiser names every tensor on the root logger
        try:
            write_int8(folder)
        except MissingDependencyError as error:
            logger.warning("no int8 weights: %s", error)
        finally:
            logging.disable(before)
    _write_manifest(folder, manifest.model_copy(update={"files": _hashes(folder)}))
    return measure_variants(folder, options.pools, options.bounds)


def _hashes(folder: Path) -> dict[str, str]:
    names = (MODEL, INT8_MODEL, TOKENIZER)
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}


def _write_manifest(folder: Path, manifest: RerankerManifest) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _copy_texts(source: Path, folder: Path, options: ExportOptions) -> None:
    for name in _TEXTS:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if options.card is not None:
        shutil.copyfile(options.card, folder / "MODEL_CARD.md")
