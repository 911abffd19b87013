"""The parts of an embedding fine-tune that need no training."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.embedding.data import read_data
from distill.embedding.dev import checked_dev, cut_corpus
from distill.embedding.lists import judged_by_teacher, list_rows
from distill.embedding.negatives import Guide, Row, Texts, mine, number_texts
from distill.embedding.search import Vectors, prefix, spread
from distill.embedding.sets import RetrievalSet, read_set, write_qa_dataset
from distill.embedding.settings import EmbedSettings, NegativeSettings
from distill.errors import TrainingError
from distill.records import LabelledList, Passage, Query
from indexing.errors import InputError


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def pair(query_id: str, doc_id: str, query: str = "", text: str = "") -> dict[str, object]:
    return {
        "query_id": query_id,
        "query": query or f"ask {query_id}",
        "doc_id": doc_id,
        "text": text or doc_id,
    }


# Judged sets


def test_the_three_layouts_give_the_same_set(tmp_path: Path) -> None:
    rows = [pair("q1", "d1"), pair("q2", "d2"), pair("q2", "d3")]
    documents = [{"_id": f"d{at}", "text": f"d{at}"} for at in range(1, 5)]
    write_lines(tmp_path / "p" / "pairs.jsonl.gz", rows)
    write_lines(tmp_path / "p" / "corpus.jsonl", documents)
    write_lines(tmp_path / "b" / "corpus.jsonl.gz", documents)
    write_lines(
        tmp_path / "b" / "queries.jsonl", [{"_id": q, "text": f"ask {q}"} for q in ("q1", "q2", "q3")]
    )
    (tmp_path / "b" / "qrels").mkdir()
    qrels = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\nq2\td3\t1\nq3\td4\t0\n"
    (tmp_path / "b" / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    pairs = read_set(tmp_path / "p")
    write_qa_dataset(pairs, tmp_path / "qa.json")
    for other in (read_set(tmp_path / "b"), read_set(tmp_path / "qa.json")):
        assert other.queries == pairs.queries == {"q1": "ask q1", "q2": "ask q2"}
        assert other.corpus == pairs.corpus
        assert other.relevant == pairs.relevant == {"q1": {"d1": 1}, "q2": {"d2": 1, "d3": 1}}
    alone = read_set(write_lines(tmp_path / "alone.jsonl", rows))
    assert set(alone.corpus) == {"d1", "d2", "d3"}


def test_the_qa_file_is_llamaindexs(tmp_path: Path) -> None:
    # EmbeddingQAFinetuneDataset.save_json writes json.dump(model_dump(), indent=4) with these four fields.
    theirs = {
        "queries": {"a": "质量如何?"},
        "corpus": {"n": "好", "m": "other"},
        "relevant_docs": {"a": ["n"]},
        "mode": "text",
    }
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(theirs, indent=4), encoding="utf-8")
    write_qa_dataset(read_set(path), tmp_path / "ours.json")
    assert json.loads((tmp_path / "ours.json").read_bytes().decode("ascii")) == theirs


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "no query with a relevant passage"),
        ("columns.jsonl", '{"anchor": "a", "positive": "b"}\n', "line 1: query_id: Field required"),
        ("broken.jsonl", json.dumps(pair("q", "d")) + "\n{\n", "line 2"),
        ("two.jsonl", json.dumps(pair("q", "d")) + "\n" + json.dumps(pair("q", "e", "other")), "two texts"),
        ("none.json", '{"queries": {}, "corpus": {}, "relevant_docs": {}, "mode": "text"}', "no query"),
        ("lost.json", '{"queries": {"q": "x"}, "corpus": {}, "relevant_docs": {"q": ["d"]}}', "passage 'd'"),
        ("form.json", '{"questions": {}}', "EmbeddingQAFinetuneDataset"),
    ],
)
def test_what_is_no_judged_set_is_refused_with_its_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_set(tmp_path / name)


def test_a_folder_or_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither pairs\.jsonl nor queries\.jsonl"):
        read_set(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_set(tmp_path / "absent.jsonl")


def test_dev_held_out_and_outside_queries_are_not_trained_on(tmp_path: Path) -> None:
    rows = [pair(f"q{at}", f"d{at}", f"Question {at}") for at in range(200)]
    data = write_lines(tmp_path / "pairs.jsonl", rows)
    held = write_lines(tmp_path / "held.jsonl", [pair("x", "d", " question 3 ")])
    found = read_data(EmbedSettings(dev_share=0.2), data=[data], held_out=[held], outside=[held])
    [train], [dev] = found.train, found.dev
    assert 20 < len(dev.queries) < 60
    assert not set(train.queries.values()) & {*dev.queries.values(), "Question 3"}
    assert len(train.queries) + len(dev.queries) >= 199
    assert found.outside[0].name == "held"
    with pytest.raises(TrainingError, match="nothing is left"):
        read_data(EmbedSettings(), data=[held], held_out=[held], dev=[data])


def test_one_dev_query_is_too_few_and_relevant_passages_survive_a_cut() -> None:
    corpus = {f"d{at}": str(at) for at in range(50)}
    one = RetrievalSet("s", {"q": "x"}, corpus, {"q": {"d7": 1}})
    with pytest.raises(TrainingError, match="--dev"):
        checked_dev([one], 10, seed=1)
    small = cut_corpus(one, 10, seed=1)
    assert len(small.corpus) == 10
    assert "d7" in small.corpus
    assert small.corpus == cut_corpus(one, 10, seed=1).corpus != cut_corpus(one, 10, seed=2).corpus


# Exact search


class Points:
    """An encoder that looks vectors up."""

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self._vectors = {
            text: np.asarray(one, np.float32) / np.linalg.norm(one) for text, one in vectors.items()
        }

    def encode_documents(self, texts: object) -> np.ndarray:
        return np.stack([self._vectors[text] for text in texts])

    encode_queries = encode_documents


def test_search_ranks_by_cosine_with_ties_by_doc_id_and_cuts_vectors() -> None:
    points = Points({"q": [1, 0, 0], "near": [1, 1, 0], "far": [0, 1, 0], "deep": [1, 0, 9]})
    corpus = {"c": "far", "b": "near", "a": "far", "d": "deep"}
    vectors = Vectors(points, RetrievalSet("s", {"q": "q"}, corpus, {"q": {"d": 1}}))
    assert list(vectors.run()["q"]) == ["b", "d", "a", "c"]
    assert list(vectors.run(2)["q"]) == ["d", "b", "a", "c"]  # without its third component, deep is the query
    assert vectors.run(depth=1) == {"q": {"b": pytest.approx(2**-0.5)}}
    assert vectors.report().means["MRR@10"] == 0.5
    assert vectors.report(2).means["NDCG@10"] == 1.0


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 10_000))
def test_spread_is_one_minus_the_mean_cosine_of_all_pairs(count: int, dimensions: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, dimensions))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [rows[i] @ rows[j] for i in range(count) for j in range(count) if i != j]
    assert spread(rows.astype(np.float32)) == pytest.approx(1 - np.mean(pairs), abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(prefix(rows, 2), axis=1), 1, atol=1e-6)


# Negatives


def guided(margin: float) -> Guide:
    """One query and six documents at known cosines; document 0 is relevant, 1 has its text."""
    cosines = np.asarray([0.80, 0.79, 0.78, 0.70, 0.60, 0.10], np.float32)
    documents = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    texts = Texts(("q",), ("same", "same", "c", "d", "e", "f"), ((0,),), ((0, 6),))
    return Guide(texts, np.asarray([[1, 0]], np.float32), documents, margin=margin)


def test_negatives_are_the_hardest_under_the_margin() -> None:
    assert mine(guided(0.0), NegativeSettings(count=2)) == [Row(0, 0, (2, 3))]
    assert mine(guided(0.05), NegativeSettings(count=2)) == [Row(0, 0, (3, 4))]  # .78 > .95 * .80
    assert mine(guided(0.05), NegativeSettings(count=2, skip_top=1)) == [Row(0, 0, (4, 5))]
    assert mine(guided(0.05), NegativeSettings(count=0)) == [Row(0, 0, ())]
    with pytest.raises(TrainingError, match=r"4 negatives under the margin of 0\.05"):
        mine(guided(0.05), NegativeSettings(count=4))


def test_negatives_stay_inside_their_own_set() -> None:
    rng = np.random.default_rng(3)
    sets = [
        RetrievalSet(
            name,
            {f"{name}{at}": f"q {name} {at}" for at in range(5)},
            {f"{name}d{at}": f"{name} {at}" for at in range(12)},
            {f"{name}{at}": {f"{name}d{at}": 1} for at in range(5)},
        )
        for name in ("a", "b")
    ]
    texts = number_texts(sets, whole_corpus=True)
    vectors = rng.normal(size=(10 + 24, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    guide = Guide(texts, vectors[:10], np.abs(vectors[10:]), margin=0.0)
    rows = mine(guide, NegativeSettings(count=1))
    assert rows
    for row in rows:
        own = texts.queries[row.query].split()[1]
        assert all(texts.documents[number].startswith(own) for number in (row.positive, *row.negatives))
    assert len(number_texts(sets, whole_corpus=False).documents) == 10


def test_false_negatives_of_a_batch_are_masked_and_the_own_positive_never() -> None:
    queries = np.eye(3, dtype=np.float32)
    documents = np.asarray([[1, 0, 0], [0.99, 0.14, 0], [0, 0, 1]], np.float32)
    texts = Texts(("a", "b", "c"), ("x", "y", "z"), ((0, 2), (1,), (2,)), ((0, 3),) * 3)
    guide = Guide(texts, queries, documents, margin=0.05)
    rows = [Row(0, 0, ()), Row(1, 1, ()), Row(2, 2, ())]
    want = [
        [False, True, True],  # y is as near as the positive, and z is known to be relevant
        [False, False, False],
        [False, False, False],
    ]
    assert guide.false_negatives(rows).tolist() == want
    with_negative = guide.false_negatives([Row(1, 1, (2,)), Row(2, 2, (0,))])
    assert with_negative.shape == (2, 4)


def test_the_filtered_loss_is_infonce_without_the_masked_columns() -> None:
    torch = pytest.importorskip("torch")
    from distill.embedding.losses import FilteredInfoNCE, PairwiseCosine, cosines

    torch.manual_seed(1)
    queries, documents = torch.randn(3, 4, dtype=torch.bfloat16), torch.randn(3, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert cosines(queries, documents).dtype == torch.float32
        assert PairwiseCosine(20.0)(queries, documents).dtype == torch.float32
    loss = FilteredInfoNCE(torch.nn.Identity(), None, (), scale=10.0, symmetric=False)  # type: ignore[arg-type]
    loss._masked = torch.tensor([[False, True, False], [False] * 3, [True, False, False]])
    found = loss.compute_loss_from_embeddings([queries, documents], torch.arange(3))
    scores = 10 * torch.nn.functional.cosine_similarity(
        queries.float()[:, None], documents.float()[None], dim=-1
    )
    kept = [[0, 2], [0, 1, 2], [1, 2]]
    want = -sum(scores[i, i] - torch.logsumexp(scores[i, kept[i]], 0) for i in range(3)) / 3
    assert float(found) == pytest.approx(float(want), abs=1e-4)


# A teacher's lists


def test_lists_become_rows_of_their_length_and_constant_ones_are_left_out() -> None:
    def one(name: str, scores: list[float]) -> LabelledList:
        passages = tuple(Passage(f"{name}{at}", f"text {name} {at}") for at in range(len(scores)))
        return LabelledList(Query(name, f"ask {name}"), passages, tuple(scores), "t", "grade")

    lists = [one("long", [3, 2, 1, 0] * 5), one("short", [1, 3, 0]), one("flat", [2, 2, 2])]
    rows = list_rows(lists, EmbedSettings(loss="kl", list_size=8, draws=2))
    assert {size: len(found) for size, found in rows.items()} == {3: 1, 8: 2}
    for row in rows[8]:
        assert len(set(row.labels)) == 4  # every grade is in a draw
        assert all(row.texts[at].startswith("text long") for at in range(8))
    assert rows[3][0].labels == pytest.approx(_z([1, 3, 0], rows[3][0].texts), abs=1e-6)
    with pytest.raises(TrainingError, match="different scores"):
        list_rows([one("flat", [2, 2])], EmbedSettings(loss="kl"))
    judged = judged_by_teacher("dev", lists[1:2], lists)
    assert judged.relevant == {"short": {"short1": 1}}
    assert len(judged.corpus) == 26


def _z(scores: list[float], texts: tuple[str, ...]) -> list[float]:
    drawn = [scores[int(text.rsplit(" ", 1)[1])] for text in texts]
    return [(score - np.mean(scores)) / np.std(scores) for score in drawn]


# Batches


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 30), st.integers(0, 10_000))
def test_batches_are_distinct_alike_in_length_and_as_many_as_said(
    count: int, size: int, texts: int, seed: int
) -> None:
    from distill.embedding.sampler import plan_batches

    rng = random.Random(seed)
    lengths = [rng.randrange(1, 100) for _ in range(count)]
    keys = [frozenset({str(rng.randrange(texts))}) for _ in range(count)]
    batches = plan_batches(lengths, keys, size, np.random.default_rng(seed))
    rows = [row for batch in batches for row in batch]
    assert len(batches) == -(-count // size)
    assert len(rows) == len(set(rows))
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len({key for row in batch for key in keys[row]}) == len(batch)
    if texts == 1:
        assert all(len(batch) == 1 for batch in batches)
    free = plan_batches(lengths, [frozenset()] * count, size, np.random.default_rng(seed))
    assert sorted(row for batch in free for row in batch) == list(range(count))
    if count <= size * 16:  # one window: batches of neighbours
        spans = sorted(
            (min(lengths[row] for row in batch), max(lengths[row] for row in batch)) for batch in free
        )
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
