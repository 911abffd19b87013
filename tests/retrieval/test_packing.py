"""Pairs, packed: the same ids as the tokenizer's own, the same logits as one by one."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.encoders.manifest import MODEL, TOKENIZER
from indexing.encoders.runtime import Runtime, open_runtime
from indexing.errors import EncoderError
from indexing.settings import RerankSettings
from retrieval import packing
from retrieval.export import export
from retrieval.exported_parts import open_tokenizer
from retrieval.exported_rerank import ExportedReranker
from retrieval.first_token import shorten_last_layer
from retrieval.packing import STEP, PairScorer, balanced
from retrieval.pairs import PairTokenizer
from retrieval.reranker import QUERY_SHARE
from tests.fakes.cross_encoder import build_cross_encoder

QUERY = "how much cash was provided by operations"
TEXTS = [
    "Net cash provided by operating activities was $ 5.4 million in 2019.",
    "",
    "cash",
    "经营活动产生的现金流量净额为五百四十万元。",
    "\u200b\ufeff e\u0301 👩‍👩‍👧 \x00 ﬁn",
    "Deferred tax assets are recognised when it is probable that profit will be available. " * 3,
    "cash " * 2000,
    "Cash paid for interest was small, and cash paid for taxes was large.",
]
MAX_TOKENS = 64


@pytest.fixture(scope="module", params=["xlm-r", "bert"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packing")
    source = build_cross_encoder(folder / "source", bert=request.param == "bert")
    export(source, folder / "out", max_tokens=MAX_TOKENS)
    return folder / "out"


@pytest.fixture(scope="module")
def reranker(exported: Path) -> ExportedReranker:
    return ExportedReranker(exported, RerankSettings(precision="fp32", threads=2, batch_size=2))


@pytest.mark.parametrize("query", [QUERY, "cash " * 60, "多少现金？", ""])
def test_spliced_pairs_are_the_tokenizers_own(exported, query):
    own = open_tokenizer(exported / TOKENIZER)
    limit = int(MAX_TOKENS * QUERY_SHARE)
    offsets = own.encode(query, add_special_tokens=False).offsets
    fitted = query if len(offsets) <= limit else query[: offsets[limit - 1][1]]
    own.enable_truncation(MAX_TOKENS, strategy="only_second")
    want = own.encode_batch([(fitted, text) for text in TEXTS])
    got = PairTokenizer(open_tokenizer(exported / TOKENIZER), MAX_TOKENS).encode(query, TEXTS)
    assert got.ids == [one.ids for one in want]
    assert got.truncated == tuple(fitted != query or bool(one.overflowing) for one in want)
    assert any(got.truncated)


def test_a_budget_that_the_query_fills_leaves_no_text(exported):
    # 12 of 16 tokens are the query's and up to 4 are special: the tokenizer itself would raise.
    pairs = PairTokenizer(open_tokenizer(exported / TOKENIZER), 16).encode("cash " * 60, ["cash flow", ""])
    assert all(len(ids) <= 16 for ids in pairs.ids)
    assert pairs.truncated == (True, True)


def test_a_tokenizer_that_makes_nothing_of_text_is_refused():
    from tokenizers import Tokenizer, models

    with pytest.raises(EncoderError, match="no tokens"):
        PairTokenizer(Tokenizer(models.BPE()), 32)
    with pytest.raises(EncoderError, match="cannot read"):
        PairTokenizer(Tokenizer(models.WordLevel({})), 32)


def test_a_tokenizer_that_joins_pairs_in_its_own_way_is_refused(exported):
    from tokenizers import processors

    odd = open_tokenizer(exported / TOKENIZER)
    odd.post_processor = processors.TemplateProcessing(  # the text comes first
        single="<s> $A </s>", pair="<s> $B </s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    with pytest.raises(EncoderError, match="does not join"):
        PairTokenizer(odd, 32)


@given(
    st.lists(st.integers(1, 90), max_size=40), st.integers(1, 200), st.integers(1, 4), st.sampled_from([1, 8])
)
def test_groups_hold_every_row_once_within_the_budget(lengths, budget, streams, step):
    groups = balanced(lengths, budget=budget, streams=streams, step=step)
    assert sorted(row for rows in groups for row in rows) == list(range(len(lengths)))
    for rows in groups:
        width = -(-max(lengths[row] for row in rows) // step) * step
        assert len(rows) == 1 or len(rows) * width <= budget
    widths = [lengths[row] for rows in groups for row in rows]
    assert widths == sorted(widths, reverse=True)


def test_equal_pairs_fill_all_streams():
    # 50 pairs of 80 tokens: two batches of 2,048 would leave one stream with the rest.
    groups = balanced([80] * 50, budget=2048, streams=2)
    assert [len(rows) for rows in groups] == [25, 25]
    assert [len(rows) for rows in balanced([80] * 50, budget=1024, streams=2)] == [12, 12, 12, 12, 2]


def test_packed_equals_one_by_one_in_any_order(reranker):
    together = reranker.score(QUERY, TEXTS)
    assert np.ptp(together.logits) > 0.01
    single = [reranker.score(QUERY, [text]) for text in TEXTS]
    np.testing.assert_allclose(together.logits, [one.logits[0] for one in single], atol=1e-4)
    assert together.truncated == tuple(one.truncated[0] for one in single)
    positions = list(range(len(TEXTS)))
    random.Random(5).shuffle(positions)
    shuffled = reranker.score(QUERY, [TEXTS[i] for i in positions])
    np.testing.assert_allclose(shuffled.logits, together.logits[positions], atol=1e-4)


def test_lists_share_batches_and_equal_their_own_calls(reranker, monkeypatch):
    monkeypatch.setattr(packing, "WINDOW", 5)  # so that lists are cut and several windows follow
    lists = [(QUERY, TEXTS), ("cash", []), ("现金", TEXTS[:3]), ("cash " * 60, TEXTS[2:])]
    for (query, texts), got in zip(lists, reranker.score_lists(lists), strict=True):
        want = [reranker.score(query, [text]) for text in texts]
        np.testing.assert_allclose(got.logits, [one.logits[0] for one in want], atol=1e-4)
        assert got.truncated == tuple(one.truncated[0] for one in want)


def test_threads_with_different_queries_get_their_own_logits(reranker):
    queries = [QUERY, "cash", "多少现金？", "cash " * 60]
    expected = [reranker.score(query, TEXTS) for query in queries]
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait(timeout=30)
        for _ in range(3):
            got = reranker.score(queries[number], TEXTS)
            np.testing.assert_allclose(got.logits, expected[number].logits, atol=1e-4)
            assert got.truncated == expected[number].truncated

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4), timeout=60))


def test_a_failing_engine_is_an_error_and_the_next_call_works(exported):
    runtime = open_runtime(exported / MODEL, runtime="openvino", precision="fp32", threads=2, streams=2)
    good = (np.ones((1, 4), dtype=np.int64), np.ones((1, 4), dtype=np.int64))
    bad = (np.full((1, 4), 10**6, dtype=np.int64), np.ones((1, 7), dtype=np.int64))
    with pytest.raises(EncoderError):
        runtime.run_many([good, bad, good])
    np.testing.assert_allclose(runtime.run_many([good, good])[1], runtime.run(*good), atol=1e-5)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_many_equals_one_after_another(exported, name):
    runtime: Runtime = open_runtime(exported / MODEL, runtime=name, precision="fp32", threads=2, streams=3)
    generator = np.random.default_rng(3)
    inputs = [
        (generator.integers(5, 90, shape), np.ones(shape, dtype=np.int64))
        for shape in ((1, 8), (3, 16), (2, 8), (1, 40), (5, 8))
    ]
    for many, ids in zip(runtime.run_many(inputs), inputs, strict=True):
        np.testing.assert_allclose(many, runtime.run(*ids), atol=1e-5)


def test_a_width_is_not_rounded_up_past_the_models_positions(exported):
    class Widest:
        name, precision, streams = "fake", "fp32", 1

        def __init__(self) -> None:
            self.widths: list[int] = []

        def run_many(self, inputs):
            self.widths += [ids.shape[1] for ids, _ in inputs]
            return [np.zeros(len(ids), dtype=np.float32) for ids, _ in inputs]

    for longest, wanted in ((61, 61), (64, 64)):
        runtime = Widest()
        tokens = PairTokenizer(open_tokenizer(exported / TOKENIZER), 61)
        PairScorer(runtime, tokens, budget=512, longest_input=longest).score(QUERY, ["cash " * 90])
        assert runtime.widths == [wanted]
    assert 64 % STEP == 0


def test_int8_on_openvino_rounds_the_graphs_own_weights(exported):
    plain = ExportedReranker(exported, RerankSettings(precision="fp32", runtime="openvino"))
    small = ExportedReranker(exported, RerankSettings(precision="int8", runtime="openvino"))
    assert small.engine == "openvino int8"
    np.testing.assert_allclose(
        small.score(QUERY, TEXTS).logits, plain.score(QUERY, TEXTS).logits, atol=0.2, rtol=0.1
    )


@pytest.mark.parametrize("bert", [True, False])
def test_a_shortened_last_layer_gives_the_same_logits(tmp_path, bert):
    import torch
    from transformers import AutoModelForSequenceClassification

    source = build_cross_encoder(tmp_path / "source", bert=bert)
    model = AutoModelForSequenceClassification.from_pretrained(source, attn_implementation="eager").eval()
    ids = torch.randint(5, 90, (4, 20), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(20) < torch.tensor([[20], [1], [7], [19]])).long()
    with torch.no_grad():
        want = model(input_ids=ids, attention_mask=mask).logits
        assert shorten_last_layer(model)
        torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, want)
        hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert hidden.shape[1] == 1
