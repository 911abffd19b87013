"""Late interaction without torch: the formula by hand, batches, cuts, and the folder's checks."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from indexing.errors import EncoderError
from indexing.settings import RerankSettings
from retrieval.exported_manifest import Interaction, Span
from retrieval.exported_rerank import ExportedReranker
from retrieval.interaction import encode_query, passage_scores
from retrieval.late_interaction import ExportedLateInteraction
from retrieval.rerank import load_folder, load_reranker
from tests.fakes.exported_models import late_interaction_folder

QUERY = "how do i open a file"
TEXTS = [
    "You open a file with the function open.",
    "The weather was sunny all week.",
    "open",
    "...",
    "",
    "cash flow of the bank in the river, " * 8,
]
FP32 = RerankSettings(precision="fp32", max_tokens=32, batch_size=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return late_interaction_folder(tmp_path_factory.mktemp("late") / "tiny-late")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> ExportedLateInteraction:
    loaded = load_folder(folder, FP32)
    assert isinstance(loaded, ExportedLateInteraction)
    return loaded


def test_the_formula_by_hand():
    interaction = Interaction(
        coefficients={"cosine": 10.0, "maxsim": 100.0, "bias": 1.0},
        pooled=Span(start=0, stop=2),
        tokens=Span(start=0, stop=2),
    )
    # [CLS], two words, [SEP]; the specials count in the pooled vector only.
    query = encode_query(
        np.array([[0, 0], [3, 0], [0, 2], [0, 0]], dtype=np.float32),
        np.array([False, True, True, False]),
        interaction,
    )
    passages = np.array(
        [
            [[0, 0], [5, 0], [0, 0], [9, 9]],  # one word like the first one; the last place is padding
            [[0, 0], [-1, 0], [0, 7], [1, 0]],  # a special token at the end must not match
        ],
        dtype=np.float32,
    )
    mask = np.array([[True, True, True, False], [True, True, True, True]])
    content = np.array([[False, True, False, False], [False, True, True, False]])
    scores = passage_scores(query, passages, mask, content, interaction)
    cosine_first = 3 / np.hypot(3, 2)  # (3, 2) with (5, 0)
    cosine_second = 2 / np.hypot(3, 2)  # (3, 2) with (-1 + 1, 7)
    maxsim_first = (1 + 0) / 2
    maxsim_second = (0 + 1) / 2  # best of (-1, 0) and (0, 1) for each query word
    np.testing.assert_allclose(scores[0], 10 * cosine_first + 100 * maxsim_first + 1, rtol=1e-5)
    np.testing.assert_allclose(scores[1], 10 * cosine_second + 100 * maxsim_second + 1, rtol=1e-5)


def test_token_weights_move_the_mean():
    interaction = Interaction(
        coefficients={"maxsim": 1.0}, pooled=Span(start=0, stop=2), tokens=Span(start=0, stop=2), weight=2
    )
    query = encode_query(
        np.array([[1, 0, 3], [0, 1, 1]], dtype=np.float32), np.array([True, True]), interaction
    )
    passage = np.array([[[4, 0, 0]]], dtype=np.float32)
    scores = passage_scores(query, passage, np.ones((1, 1), bool), np.ones((1, 1), bool), interaction)
    np.testing.assert_allclose(scores, [3 / 4], rtol=1e-6)


def test_what_shares_words_comes_first(reranker):
    logits = reranker.score(QUERY, TEXTS).logits
    assert int(np.argmax(logits)) == 0
    assert logits[0] > logits[2] > logits[1]


def test_batched_equals_single_and_order_does_not_matter(reranker):
    together = reranker.score(QUERY, TEXTS).logits
    single = [reranker.score(QUERY, [text]).logits[0] for text in TEXTS]
    np.testing.assert_allclose(together, single, atol=1e-5)
    places = list(range(len(TEXTS)))
    random.Random(11).shuffle(places)
    shuffled = reranker.score(QUERY, [TEXTS[place] for place in places]).logits
    np.testing.assert_allclose(shuffled, together[places], atol=1e-5)


def test_an_empty_query_or_passage_has_no_maxsim(folder, tmp_path):
    model = load_folder(late_interaction_folder(tmp_path / "m", cosine=0.0), FP32)
    assert model.score("", TEXTS).logits.tolist() == [0.0] * len(TEXTS)
    assert model.score(QUERY, [""]).logits.tolist() == [0.0]
    assert model.score(QUERY, []).logits.shape == (0,)


def test_cuts_are_reported(reranker):
    assert reranker.score(QUERY, TEXTS).truncated == (False,) * 5 + (True,)
    long_query = " ".join([QUERY] * 4)
    assert reranker.score(long_query, TEXTS[:2]).truncated == (True, True)
    cut = " ".join(long_query.split()[:10])  # 12 tokens with [CLS] and [SEP]
    np.testing.assert_allclose(
        reranker.score(long_query, TEXTS).logits, reranker.score(cut, TEXTS).logits, atol=1e-6
    )


def test_both_engines_agree(folder):
    engines = [
        load_folder(folder, FP32.model_copy(update={"runtime": name})) for name in ("openvino", "onnxruntime")
    ]
    first, second = (one.score(QUERY, TEXTS).logits for one in engines)
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert [one.name for one in engines] == ["openvino:tiny-late", "onnxruntime:tiny-late"]


def test_the_loader_tells_the_kinds_apart(folder, reranker):
    assert reranker.kind == "late-interaction"
    assert reranker.scripts == frozenset({"Latin"})
    assert load_reranker(RerankSettings(model=str(folder))).kind == "late-interaction"
    with pytest.raises(EncoderError, match="late-interaction"):
        ExportedReranker(folder, FP32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "cross-encoder"}, "interaction"),
        ({"interaction": None}, "interaction"),
        ({"files": {"model.onnx": "0" * 64}}, "must list"),
        ({"surprise": 1}, "not a manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, change, message):
    folder = late_interaction_folder(tmp_path / "m")
    fields = json.loads((folder / "reranker.json").read_text())
    (folder / "reranker.json").write_text(json.dumps(fields | change))
    with pytest.raises(EncoderError, match=message):
        load_folder(folder, FP32)


def test_unknown_and_pickled_files_are_refused(tmp_path):
    folder = late_interaction_folder(tmp_path / "m")
    (folder / "MODEL_CARD.md").write_text("a text")
    load_folder(folder, FP32)
    (folder / "extra.txt").write_text("?")
    with pytest.raises(EncoderError, match=r"extra\.txt"):
        load_folder(folder, FP32)
    (folder / "extra.txt").rename(folder / "idf.npy")
    with pytest.raises(EncoderError, match="run code"):
        load_folder(folder, FP32)


def test_the_fastest_kept_variant_is_taken(tmp_path):
    folder = late_interaction_folder(tmp_path / "m")
    fields = json.loads((folder / "reranker.json").read_text())
    variant = {"runtime": "onnxruntime", "precision": "fp32", "kept": True, "why": "measured"}
    dropped = {"runtime": "openvino", "precision": "bf16", "kept": False, "why": "loses"}
    (folder / "reranker.json").write_text(json.dumps(fields | {"variants": [dropped, variant]}))
    assert load_folder(folder, RerankSettings()).engine == "onnxruntime fp32"
    # Nothing kept fits the engine asked for: fp32, never a variant that lost.
    assert load_folder(folder, RerankSettings(runtime="openvino")).engine == "openvino fp32"


@pytest.fixture(scope="module")
def bge_m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from indexing.encoders.convert import convert
    from tests.fakes.tiny_models import bge_m3_folder

    base = tmp_path_factory.mktemp("m3")
    convert(bge_m3_folder(base / "original"), base / "bge-m3")
    return base / "bge-m3"


def test_bge_m3_gives_flagembedding_s_own_colbert_score(bge_m3):
    settings = RerankSettings(model=str(bge_m3), backend="bge-m3", max_tokens=32, batch_size=2)
    reranker = load_reranker(settings)
    texts = ["the engine of search", "quick brown fox", "机器学习搜索引擎", "vector index " * 30]
    scores = reranker.score("search engine", texts)
    assert (reranker.kind, reranker.scripts, reranker.name) == ("late-interaction", None, "bge-m3:bge-m3")
    assert scores.truncated == (False, False, False, True)

    from FlagEmbedding import BGEM3FlagModel
    from safetensors.torch import load_file

    own = BGEM3FlagModel(str(bge_m3), use_fp16=False, devices="cpu")
    own.model.colbert_linear.load_state_dict(load_file(bge_m3 / "colbert_linear.safetensors"))
    encoded = own.encode(["search engine", *texts], max_length=32, return_colbert_vecs=True)["colbert_vecs"]
    wanted = [float(own.colbert_score(encoded[0], one)) for one in encoded[1:]]
    np.testing.assert_allclose(scores.logits, wanted, atol=1e-4)


def test_bge_m3_without_its_head_is_refused(bge_m3, tmp_path):
    import shutil

    copy = shutil.copytree(bge_m3, tmp_path / "copy")
    (copy / "colbert_linear.safetensors").unlink()
    with pytest.raises(EncoderError, match="colbert_linear"):
        load_reranker(RerankSettings(model=str(copy), backend="bge-m3"))
