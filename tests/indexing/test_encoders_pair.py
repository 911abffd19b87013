"""The pair: the coverage rule, fingerprints, and the dispatch of names and folders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from indexing.encoders import load_encoders, model_folder
from indexing.encoders.bge_m3 import BgeM3Pair
from indexing.encoders.bm25 import Bm25Encoder
from indexing.encoders.convert import convert
from indexing.encoders.dense import OnnxDenseEncoder
from indexing.encoders.pair import ComposedPair
from indexing.encoders.protocols import EncoderPair, Fingerprint
from indexing.encoders.sentence_transformer import SentenceTransformerEncoder
from indexing.encoders.splade import SpladeEncoder
from indexing.errors import EncoderError
from indexing.records import FloatArray
from indexing.settings import EncoderSettings
from tests.fakes.tiny_models import bge_m3_folder, sentence_transformer_folder, splade_folder

TEXTS = [
    "a fox in the river",
    "什么是机器学习",
    "",
    "BM25 是什么",
    "dense 向量 and sparse 向量 in one search",
]


class LengthEncoder:
    """Two dimensions that follow from a text's length; remembers what it was given."""

    dimensions = 2

    def __init__(self, scripts: frozenset[str] | None) -> None:
        self.scripts = scripts
        self.seen: list[str] = []

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint("dense", "length", {})

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        self.seen.extend(texts)
        angles = np.array([len(text) for text in texts], dtype=np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self.encode_documents(texts)


def pair(scripts: frozenset[str] | None, min_coverage: float = 0.5) -> tuple[ComposedPair, LengthEncoder]:
    dense = LengthEncoder(scripts)
    return ComposedPair(dense, Bm25Encoder(average_length=4.0), min_coverage=min_coverage), dense


@pytest.mark.parametrize("method", ["embed_documents", "embed_queries"])
def test_unknown_scripts_get_no_dense_vector_and_are_not_encoded(method: str) -> None:
    both, dense = pair(frozenset({"Latin"}))
    embeddings = getattr(both, method)(TEXTS)
    known = [both.coverage(text) >= 0.5 for text in TEXTS]
    assert known[:3] == [True, False, True]
    assert [embedding.dense is not None for embedding in embeddings] == known
    assert dense.seen == [text for text, is_known in zip(TEXTS, known, strict=True) if is_known]
    for text, embedding in zip(TEXTS, embeddings, strict=True):
        if embedding.dense is not None:
            np.testing.assert_allclose(embedding.dense, [np.cos(len(text)), np.sin(len(text))], rtol=1e-5)
    assert len(embeddings[1].sparse) == (6 if method == "embed_documents" else 4)  # a query drops 什么
    assert getattr(both, method)([]) == []


def test_a_model_of_every_script_encodes_every_text() -> None:
    both, _ = pair(None)
    assert all(embedding.dense is not None for embedding in both.embed_documents(TEXTS))
    assert both.coverage("什么") == 1.0


def test_only_unknown_texts_never_reach_the_model() -> None:
    both, dense = pair(frozenset({"Latin"}))
    assert [embedding.dense for embedding in both.embed_queries(["什么", "学习"])] == [None, None]
    assert dense.seen == []


def test_average_length_reaches_bm25_and_no_fingerprint() -> None:
    both, _ = pair(None)
    longer = both.with_average_length(40.0)
    assert longer.sparse_documents(["fox"]) != both.sparse_documents(["fox"])
    assert longer.sparse_fingerprint.digest == both.sparse_fingerprint.digest
    assert both.document_length("the fox in the river") == 2
    assert both.sparse_idf


def test_the_coverage_rule_is_part_of_the_dense_fingerprint() -> None:
    latin = frozenset({"Latin"})
    digests = {pair(latin, share)[0].dense_fingerprint.digest for share in (0.3, 0.5)}
    assert len(digests) == 2
    every = {pair(None, share)[0].dense_fingerprint.digest for share in (0.3, 0.5)}
    assert len(every) == 1


def test_the_default_is_the_shipped_model_with_bm25() -> None:
    both: EncoderPair = load_encoders(EncoderSettings(threads=1), average_length=4.0)
    assert isinstance(both, ComposedPair)
    assert isinstance(both.dense, OnnxDenseEncoder)
    assert (both.dimensions, both.sparse_idf) == (384, True)
    dense = [embedding.dense for embedding in both.embed_documents(["a fox", "机器学习"])]
    assert dense[0] is not None
    assert dense[0].shape == (384,)
    assert dense[1] is None
    fox = both.embed_queries(["fox"])[0].sparse
    assert both.term(fox.indices[0]) == "fox"


def test_folders_are_told_apart_by_what_is_in_them(tmp_path: Path) -> None:
    dense = sentence_transformer_folder(tmp_path / "dense")
    splade = splade_folder(tmp_path / "splade")
    convert(bge_m3_folder(tmp_path / "original"), tmp_path / "m3")
    m3 = str(tmp_path / "m3")

    threads = torch.get_num_threads()
    both = load_encoders(EncoderSettings(dense=str(dense), sparse=str(splade), threads=1))
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    assert isinstance(both, ComposedPair)
    assert isinstance(both.dense, SentenceTransformerEncoder)
    assert isinstance(both.sparse, SpladeEncoder)
    assert (both.document_length("fox"), both.with_average_length(3.0)) == (0, both)
    assert isinstance(load_encoders(EncoderSettings(dense=m3, sparse=m3)), BgeM3Pair)
    mixed = load_encoders(EncoderSettings(dense=m3), average_length=4.0)
    (embedding,) = mixed.embed_documents(["the fox"])
    assert embedding.dense is not None
    assert embedding.dense.shape == (32,)
    assert mixed.sparse_fingerprint.name == "bm25"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dense": "no-such-model"}, "all-MiniLM-L6-v2"),
        ({"sparse": "no-such-model"}, "neither shipped"),
        ({"sparse": "all-MiniLM-L6-v2"}, "no sparse side"),
        ({"dense": "."}, "accepted are"),
    ],
)
def test_what_cannot_be_loaded_says_what_can(
    settings: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match=message):
        load_encoders(EncoderSettings(**settings))


def test_shipped_names_win_over_folders_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (model_folder("all-MiniLM-L6-v2") / "manifest.json").is_file()


def test_the_default_pair_imports_no_heavy_package() -> None:
    code = (
        "import sys; from indexing.settings import EncoderSettings; "
        "from indexing.encoders import load_encoders; "
        "light = set(sys.modules); load_encoders(EncoderSettings()).embed_queries(['fox']); "
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'llama_index', 'onnx', 'onnxruntime'}; "
        "print(sorted(heavy & set(sys.modules)), sorted({'numpy', 'openvino', 'tokenizers'} & light))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60, text=True)
    assert out.stdout.strip() == "[] ['numpy']"
