"""Rerankers, on tiny cross-encoder checkpoints that the tests build themselves."""

from __future__ import annotations

import json
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from indexing.errors import EncoderError, SettingsError
from indexing.settings import RerankSettings
from retrieval.export import export
from retrieval.exported_rerank import ExportedReranker
from retrieval.rerank import FlagReranker, SentenceTransformersReranker, load_reranker
from retrieval.reranker import order
from tests.fakes.cross_encoder import build_cross_encoder

QUERY = "how much cash was provided by operations"
TEXTS = [
    "Net cash provided by operating activities was $ 5.4 million in 2019.",
    "The board met four times.",
    "cash",
    "经营活动产生的现金流量净额为五百四十万元。",
    "Deferred tax assets are recognised when it is probable that profit will be available. " * 3,
    "Cash paid for interest was small, and cash paid for taxes was large.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-reranker")


@pytest.fixture(scope="module")
def settings(folder: Path) -> RerankSettings:
    return RerankSettings(model=str(folder), max_tokens=64, batch_size=4)


@pytest.fixture(scope="module")
def through_st(folder: Path, settings: RerankSettings) -> SentenceTransformersReranker:
    return SentenceTransformersReranker(folder, settings)


@pytest.fixture(scope="module")
def through_flag(folder: Path, settings: RerankSettings) -> FlagReranker:
    return FlagReranker(folder, settings)


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "tiny"
    export(folder, out, name="tiny", max_tokens=64)
    return out


@pytest.fixture(scope="module")
def through_graph(exported: Path) -> ExportedReranker:
    return ExportedReranker(exported, RerankSettings(precision="fp32", max_tokens=64, batch_size=4))


def test_an_exported_graph_gives_the_logits_of_its_source(through_st, through_graph):
    for query in (QUERY, " ".join([QUERY] * 20)):
        first, second = through_st.score(query, TEXTS), through_graph.score(query, TEXTS)
        np.testing.assert_allclose(first.logits, second.logits, atol=1e-3)
        assert first.truncated == second.truncated


def test_an_exported_bert_keeps_its_segments(tmp_path):
    source = build_cross_encoder(tmp_path / "bert", bert=True)
    settings = RerankSettings(precision="fp32", max_tokens=64)
    export(source, tmp_path / "out")
    want = SentenceTransformersReranker(source, settings).score(QUERY, TEXTS).logits
    assert np.ptp(want) > 0.01
    got = ExportedReranker(tmp_path / "out", settings).score(QUERY, TEXTS).logits
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_an_exported_folder_is_recognised(exported):
    reranker = load_reranker(RerankSettings(model=str(exported)))
    assert isinstance(reranker, ExportedReranker)
    assert reranker.name.endswith(":tiny")


def test_an_exported_folder_that_was_changed_is_refused(exported, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "copy")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(EncoderError, match="differs from its hash"):
        load_reranker(RerankSettings(model=str(copy)))
    (copy / "reranker.json").write_text("{}")
    with pytest.raises(EncoderError, match="not a manifest"):
        load_reranker(RerankSettings(model=str(copy)))


def test_a_folder_that_is_not_empty_is_not_exported_to(folder, exported):
    with pytest.raises(EncoderError, match="not empty"):
        export(folder, exported)


def test_both_backends_give_the_same_logits(through_st, through_flag):
    first = through_st.score(QUERY, TEXTS)
    second = through_flag.score(QUERY, TEXTS)
    assert first.logits.dtype == np.float32
    assert np.ptp(first.logits) > 0.01, "the checkpoint must tell texts apart"
    np.testing.assert_allclose(first.logits, second.logits, atol=1e-4)
    assert first.truncated == second.truncated


def test_both_backends_read_the_same_tokens_of_a_long_query(through_st, through_flag):
    query = " ".join([QUERY] * 20)
    first, second = through_st.score(query, TEXTS), through_flag.score(query, TEXTS)
    np.testing.assert_allclose(first.logits, second.logits, atol=1e-4)
    assert first.truncated == second.truncated == (True,) * len(TEXTS), "a cut query is cut for every text"


def test_flag_logits_equal_its_own_compute_score(through_flag):
    pairs = [[QUERY, text] for text in TEXTS]
    expected = through_flag._loaded.compute_score(pairs, batch_size=16, max_length=64)
    np.testing.assert_allclose(through_flag.score(QUERY, TEXTS).logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["through_st", "through_flag", "through_graph"])
def test_batched_equals_single_and_order_does_not_matter(name, request):
    reranker = request.getfixturevalue(name)
    together = reranker.score(QUERY, TEXTS).logits
    single = [reranker.score(QUERY, [text]).logits[0] for text in TEXTS]
    np.testing.assert_allclose(together, single, atol=1e-4)
    positions = list(range(len(TEXTS)))
    random.Random(7).shuffle(positions)
    shuffled = reranker.score(QUERY, [TEXTS[i] for i in positions]).logits
    np.testing.assert_allclose(shuffled, together[positions], atol=1e-4)


@pytest.mark.parametrize("name", ["through_st", "through_flag", "through_graph"])
def test_truncation_is_reported_exactly(name, request):
    reranker = request.getfixturevalue(name)
    tokenizer = request.getfixturevalue("through_st")._tokenizer
    # Word by word: the report must flip where the pair passes 64 tokens, not one before or after.
    texts = ["cash " * count for count in range(30, 70)]
    reported = reranker.score(QUERY, texts).truncated
    actual = tuple(len(tokenizer(QUERY, text)["input_ids"]) > 64 for text in texts)
    assert reported == actual
    assert True in actual
    assert False in actual


@pytest.mark.parametrize("name", ["through_st", "through_flag", "through_graph"])
def test_no_texts_give_no_scores(name, request):
    scores = request.getfixturevalue(name).score(QUERY, [])
    assert scores.logits.shape == (0,)
    assert scores.truncated == ()


@pytest.mark.parametrize("name", ["through_st", "through_flag", "through_graph"])
def test_threads_get_the_same_logits(name, request):
    reranker = request.getfixturevalue(name)
    expected = reranker.score(QUERY, TEXTS).logits
    start = threading.Barrier(4)

    def work(_: int) -> np.ndarray:
        start.wait(timeout=10)
        return reranker.score(QUERY, TEXTS).logits

    with ThreadPoolExecutor(4) as pool:
        for logits in pool.map(work, range(4), timeout=60):
            np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_a_logit_that_is_not_finite_is_an_error(tmp_path, settings):
    broken = build_cross_encoder(tmp_path / "nan", bias=float("nan"))
    reranker = SentenceTransformersReranker(broken, settings)
    with pytest.raises(EncoderError, match="not finite"):
        reranker.score(QUERY, TEXTS[:2])


def test_order_is_logit_descending_then_id():
    logits = np.array([1.0, 3.0, 1.0, 3.0], dtype=np.float32)
    assert order(["d", "b", "c", "a"], logits) == [3, 1, 2, 0]


def test_order_tells_apart_what_a_sigmoid_in_bf16_would_not():
    logits = np.linspace(4, 12, 800, dtype=np.float32)
    assert order([f"{i:03d}" for i in range(800)], logits) == list(range(799, -1, -1))


def test_no_model_is_no_reranker():
    assert load_reranker(RerankSettings(model="none")) is None


def test_auto_takes_sentence_transformers(folder):
    reranker = load_reranker(RerankSettings(model=str(folder)))
    assert isinstance(reranker, SentenceTransformersReranker)
    assert reranker.name == "sentence-transformers:tiny-reranker"


def test_a_name_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="not a model folder"):
        load_reranker(RerankSettings(model="BAAI/bge-reranker-v2-m3"))


def test_remote_code_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "model.py--Model"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="auto_map"):
        load_reranker(RerankSettings(model=str(copy)))


def test_an_encoder_without_a_head_is_refused(folder, tmp_path):
    """The libraries would give it a random head: a late-interaction student once scored .18 so."""
    encoder = tmp_path / "encoder"
    shutil.copytree(folder, encoder)
    config = json.loads((encoder / "config.json").read_text())
    config["architectures"] = ["XLMRobertaModel"]
    (encoder / "config.json").write_text(json.dumps(config))
    for backend in ("sentence-transformers", "flag-embedding"):
        with pytest.raises(EncoderError, match="distill export"):
            load_reranker(RerankSettings(model=str(encoder), backend=backend))


def test_pickled_weights_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="safetensors"):
        load_reranker(RerankSettings(model=str(copy)))


def test_two_labels_are_no_reranker(tmp_path):
    model = build_cross_encoder(tmp_path / "two", labels=2)
    with pytest.raises(EncoderError, match="2 output labels"):
        load_reranker(RerankSettings(model=str(model)))
