"""BGE-M3 and SPLADE over tiny real checkpoints, and the converter that makes pickles safe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from indexing.encoders.bge_m3 import BgeM3Dense, BgeM3Model, BgeM3Pair, BgeM3Sparse
from indexing.encoders.convert import convert, main
from indexing.encoders.protocols import DenseEncoder, SparseEncoder
from indexing.encoders.splade import SpladeEncoder
from indexing.encoders.validation import sparse_vector
from indexing.errors import EncoderError, VectorError
from indexing.records import SparseVector
from tests.fakes.tiny_models import Canary, bge_m3_folder, splade_folder

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "search engine",
    "",
    "机器学习 in a search engine",
    "the the the the",
    "river bank and money " * 30,
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bge_m3_folder(tmp_path_factory.mktemp("m3") / "bge-m3")


@pytest.fixture(scope="module")
def folder(original: Path) -> Path:
    convert(original, original.parent / "safe" / "bge-m3")
    return original.parent / "safe" / "bge-m3"


@pytest.fixture(scope="module")
def m3(folder: Path) -> BgeM3Model:
    return BgeM3Model(folder, max_tokens=64, token_budget=80)


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> SpladeEncoder:
    return SpladeEncoder(splade_folder(tmp_path_factory.mktemp("splade") / "tiny-splade"))


def check(vector: SparseVector) -> None:
    assert all(type(index) is int for index in vector.indices)
    assert list(vector.indices) == sorted(set(vector.indices))
    assert np.isfinite(vector.values).all()
    assert min(vector.values, default=1) > 0


def test_bge_m3_equals_flag_embedding(original: Path, m3: BgeM3Model) -> None:
    """Our batches over the converted folder against FlagEmbedding's own loop over the original."""
    from FlagEmbedding import BGEM3FlagModel

    theirs = BGEM3FlagModel(str(original), use_fp16=False).encode(
        TEXTS, max_length=64, return_dense=True, return_sparse=True
    )
    dense, sparse = m3.encode(TEXTS)
    np.testing.assert_allclose(dense, theirs["dense_vecs"], rtol=0, atol=1e-5)
    assert any(len(vector) for vector in sparse)
    for ours, wanted in zip(sparse, theirs["lexical_weights"], strict=True):
        check(ours)
        assert set(ours.indices) == {int(key) for key in wanted}
        for index, value in zip(ours.indices, ours.values, strict=True):
            assert value == pytest.approx(float(wanted[str(index)]), abs=1e-5)


def test_bge_m3_fills_both_sides_from_one_pass(m3: BgeM3Model, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    forward = m3._network.model.forward

    def counted(*args: object, **options: object) -> object:
        passes.append(1)
        return forward(*args, **options)

    monkeypatch.setattr(m3._network.model, "forward", counted)
    pair = BgeM3Pair(m3)
    embeddings = pair.embed_documents(["the fox", "the dog", "a river"])
    assert len(passes) == 1
    assert all(embedding.dense is not None and embedding.dense.shape == (32,) for embedding in embeddings)
    assert pair.embed_documents([]) == []
    assert len(passes) == 1


def test_bge_m3_batched_equals_single(m3: BgeM3Model) -> None:
    dense, sparse = m3.encode(TEXTS)
    for at, text in enumerate(TEXTS):
        one_dense, one_sparse = m3.encode([text])
        np.testing.assert_allclose(dense[at], one_dense[0], rtol=0, atol=1e-5)
        assert one_sparse[0].indices == sparse[at].indices
        np.testing.assert_allclose(one_sparse[0].values, sparse[at].values, rtol=0, atol=1e-5)


def test_bge_m3_halves_and_terms(m3: BgeM3Model) -> None:
    dense, sparse = BgeM3Dense(m3), BgeM3Sparse(m3)
    assert isinstance(dense, DenseEncoder)
    assert isinstance(sparse, SparseEncoder)
    assert (dense.dimensions, dense.scripts, sparse.idf) == (32, None, False)
    assert dense.encode_queries([]).shape == (0, 32)
    (vector,) = sparse.encode_queries(["search engine vector query rank fox river money"])
    words = {sparse.term(index) for index in vector.indices}
    assert words <= {"search", "engine", "vector", "query", "rank", "fox", "river", "money", ""}
    assert words - {""}
    assert sparse.term(10**6) is None
    assert dense.fingerprint.digest != sparse.fingerprint.digest


def test_bge_m3_in_its_original_layout_is_refused_with_the_command(original: Path) -> None:
    with pytest.raises(EncoderError, match=r"indexing\.encoders\.convert"):
        BgeM3Model(original)


def test_bge_m3_without_its_lexical_head_is_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != "sparse_linear.safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(EncoderError, match="random"):
        BgeM3Model(tmp_path)


@pytest.mark.parametrize("name", ["sparse_linear.pt", "colbert_linear.pt", "pytorch_model.bin"])
def test_a_pickle_never_runs_its_code(name: str, original: Path, tmp_path: Path) -> None:
    source, alarm = tmp_path / "bge-m3", tmp_path / "ran"
    source.mkdir()
    for path in original.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    torch.save(Canary(alarm), source / name)
    with pytest.raises(EncoderError, match="can run code"):
        BgeM3Model(source)
    with pytest.raises(EncoderError, match="more than tensors"):
        convert(source, tmp_path / "out")
    assert not alarm.exists()
    assert not (tmp_path / "out").exists()
    torch.load(source / name, weights_only=False)
    assert alarm.exists(), "the canary must sing when a pickle is opened the unsafe way"


def test_convert_command(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (original / "training_args.bin").write_bytes(b"not weights")
    try:
        assert main([str(original), str(tmp_path / "out")]) == 0
    finally:
        (original / "training_args.bin").unlink()
    assert "colbert_linear.pt, pytorch_model.bin, sparse_linear.pt" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.bin"))
    assert main([str(original), str(tmp_path / "out")]) == 1
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "other")]) == 1


def test_convert_keeps_shards_together(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shard = "pytorch_model-00001-of-00001.bin"
    torch.save({"a": torch.ones(2), "b": torch.zeros(1)}, source / shard)
    index = {"metadata": {}, "weight_map": {"a": shard, "b": shard}}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    convert(source, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {"model-00001-of-00001.safetensors"}
    assert (tmp_path / "out" / "model-00001-of-00001.safetensors").is_file()


def test_splade_equals_the_formula(splade: SpladeEncoder) -> None:
    """Weights are max over tokens of log(1 + relu(logit)), taken from transformers itself."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = splade._folder
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits[0]
    wanted = torch.log1p(torch.relu(logits)).amax(dim=0).numpy()
    (vector,) = splade.encode_documents([TEXTS[0]])
    check(vector)
    assert vector.indices == tuple(int(index) for index in np.nonzero(wanted)[0])
    np.testing.assert_allclose(vector.values, wanted[list(vector.indices)], rtol=0, atol=1e-5)


def test_splade_batched_equals_single(splade: SpladeEncoder) -> None:
    assert isinstance(splade, SparseEncoder)
    assert splade.encode_documents([]) == []
    together = splade.encode_queries(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        check(vector)
        (single,) = splade.encode_queries([text])
        assert single.indices == vector.indices
        np.testing.assert_allclose(single.values, vector.values, rtol=0, atol=1e-5)
    assert splade.term(together[0].indices[0]) is not None
    assert splade.term(-1) is None
    assert not splade.idf


def test_sparse_weights_are_checked() -> None:
    assert sparse_vector({7: 1.0, 3: 2.0, 5: 0.0}) == SparseVector((3, 7), (2.0, 1.0))
    assert sparse_vector({}) == SparseVector((), ())
    bad = [{"3": 1.0}, {True: 1.0}, {-1: 1.0}, {2**32: 1.0}, {1: float("nan")}, {1: -1.0}, {1: float("inf")}]
    for weights in bad:
        with pytest.raises(VectorError):
            sparse_vector(weights)
