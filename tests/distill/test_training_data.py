"""From files to batches: scales, consensus, the cut by query, draws, packing, mined negatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import TrainingError
from distill.records import LabelledList, Passage, Query, Scale
from distill.split import is_dev, split_by_query
from distill.students.packing import pack_for_training
from distill.training.dev import dev_metrics, dev_sets, score_sets
from distill.training.normalise import by_humans, consensus, normalised, positives
from distill.training.plan import Stream, spread_draw
from distill.training.settings import SourceSettings, TrainSettings, load_recipe
from distill.training.sources import TrainingList, fingerprint, read_sources
from distill.training.warm_start import pairs_as_lists
from indexing.errors import InputError, SettingsError
from tests.fakes.training_labels import write_labels

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def labelled(
    scores: tuple[float, ...], *, query: str = "q", teacher: str = "t", scale: Scale = "grade", first: int = 0
) -> LabelledList:
    passages = tuple(Passage(f"d{first + place}", f"text {first + place}") for place in range(len(scores)))
    return LabelledList(Query(query, f"about {query}"), passages, scores, teacher, scale)


@given(st.lists(FINITE, min_size=2, max_size=20))
def test_normalising_keeps_the_order_and_sets_the_scale(scores: list[float]) -> None:
    for method in ("z-score", "min-max"):
        values = np.array(normalised(scores, method))
        if np.ptp(scores) < 1e-3:
            continue
        order = np.argsort(scores, kind="stable")
        assert (np.diff(values[order]) >= -1e-9).all()
        if method == "z-score":
            assert values.mean() == pytest.approx(0, abs=1e-6)
            assert values.std() == pytest.approx(1, rel=1e-6)
        else:
            assert (values.min(), values.max()) == (0.0, pytest.approx(1.0))


def test_a_constant_list_becomes_zeros() -> None:
    assert normalised([4.0, 4.0], "z-score") == [0.0, 0.0]


def test_consensus_averages_scaled_scores_per_passage() -> None:
    one = labelled((0.0, 2.0), teacher="a")  # z-scores -1, 1
    other = labelled((10.0, 0.0), teacher="b", first=1)  # d1: 1, d2: -1
    (both,) = consensus([one, other])
    assert [passage.doc_id for passage in both.passages] == ["d0", "d1", "d2"]
    assert both.scores == pytest.approx((-1.0, 1.0, -1.0))
    assert both.teacher == "consensus"


def test_consensus_on_grades_keeps_what_is_bad_everywhere_bad() -> None:
    good, bad = labelled((0.0, 4.0), query="good"), labelled((0.0, 1.0), query="bad")
    first, second = consensus([good, bad], method="grade")
    assert first.scores == (0.0, 3.0)
    assert second.scores == (0.0, 0.75)


@pytest.mark.parametrize(
    ("scale", "scores", "expected"),
    [
        ("grade", (1.0, 2.0, 3.0), (False, True, True)),
        ("probability", (0.49, 0.5), (False, True)),
        ("logit", (-0.1, 0.0), (False, True)),
        ("rank", (-2.0, -1.0, -3.0), (False, True, False)),
    ],
)
def test_hard_labels_follow_the_scale(
    scale: Scale, scores: tuple[float, ...], expected: tuple[bool, ...]
) -> None:
    assert positives(labelled(scores, scale=scale)) == expected


def test_human_grades_are_used_only_where_there_are_any() -> None:
    one = LabelledList(
        Query("q", "q"), (Passage("a", "a"), Passage("b", "b")), (1.0, 0.0), "t", "grade", (None, 3)
    )
    (human,) = by_humans([one])
    assert [passage.doc_id for passage in human.passages] == ["b"]
    assert human.scores == (3.0,)


def test_every_source_is_cut_by_the_same_queries(tmp_path: Path) -> None:
    files = [write_labels(tmp_path / f"{name}.jsonl", queries=30, teacher=name) for name in ("a", "b")]
    settings = TrainSettings.model_validate(
        {"sources": [{"path": file} for file in files], "dev": {"share": 0.3, "seed": 1}}
    )
    first, second = read_sources(settings)
    assert {one.query.query_id for one in first.dev} == {one.query.query_id for one in second.dev}
    assert all(is_dev(one.query.query_id, share=0.3, seed=1) for one in first.dev)
    assert not any(is_dev(one.query.query_id, share=0.3, seed=1) for one in first.train)
    assert len(first.dev) + len(first.train) == 30
    assert fingerprint([first]) != fingerprint([second])


def test_a_text_with_an_id_per_list_is_on_one_side() -> None:
    passages = (Passage("a", "a"), Passage("b", "b"))
    lists = [
        LabelledList(
            Query(
                f"list-{number}",
                f" What is tax {number % 20}" if number < 20 else f"what is TAX {number % 20}",
            ),
            passages,
            (1.0, 0.0),
            "t",
            "rank",
        )
        for number in range(40)
    ]
    train, dev = split_by_query(lists, share=0.5, seed=0)
    sides = [{one.query.text.strip().casefold() for one in side} for side in (train, dev)]
    assert sides[0]
    assert sides[1]
    assert sides[0].isdisjoint(sides[1])


def test_test_queries_are_left_out_by_id_and_by_text(tmp_path: Path) -> None:
    file = write_labels(tmp_path / "a.jsonl", queries=3)
    (tmp_path / "held.txt").write_text("q0\nHow much TAX\n", encoding="utf-8")
    settings = TrainSettings.model_validate(
        {"sources": [{"path": file}], "dev": {"share": 0}, "exclude_queries": tmp_path / "held.txt"}
    )
    (source,) = read_sources(settings)
    assert [one.query.query_id for one in source.train] == ["q2"]


def test_a_teacher_that_is_not_in_the_file_is_refused(tmp_path: Path) -> None:
    file = write_labels(tmp_path / "a.jsonl")
    settings = TrainSettings.model_validate({"sources": [{"path": file, "teachers": ["gpt"]}]})
    with pytest.raises(InputError, match="no teacher gpt; it has: llm"):
        read_sources(settings)


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(TrainingError, match="nothing to train on"):
        read_sources(TrainSettings.model_validate({"sources": [{"path": tmp_path / "empty.jsonl"}]}))


def stream(count: int, *, per_batch: int = 3, size: int = 4, seed: int = 7) -> Stream:
    lists = [
        TrainingList(
            f"q{number}",
            f"query {number}",
            tuple(f"text {number} {place}" for place in range(10)),
            tuple(float(place >= 8) for place in range(10)),
            tuple(place >= 8 for place in range(10)),
        )
        for number in range(count)
    ]
    return Stream(0, lists, per_batch, size, seed)


def test_every_list_comes_once_before_any_comes_again() -> None:
    drawn = [one.query_id for batch in range(5) for one in stream(15).batch(batch)]
    assert sorted(drawn) == sorted(f"q{number}" for number in range(15))
    again = [one.query_id for batch in range(5, 10) for one in stream(15).batch(batch)]
    assert sorted(again) == sorted(drawn)
    assert again != drawn


def test_a_batch_depends_on_its_number_only() -> None:
    late = stream(15).batch(41)
    for number in range(41):
        stream(15).batch(number)
    assert stream(15).batch(41) == late
    assert stream(15, seed=8).batch(41) != late


def test_a_draw_keeps_texts_labels_and_positives_together() -> None:
    for one in stream(15).batch(0):
        for text, label, positive in zip(one.texts, one.labels, one.positives, strict=True):
            assert (int(text.split()[-1]) >= 8) == bool(label) == positive


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=60), st.integers(2, 12))
def test_a_draw_spans_the_labels(labels: list[float], size: int) -> None:
    rows = spread_draw(labels, size, np.random.default_rng(0))
    assert len(rows) == len(set(rows)) == min(size, len(labels))
    if size >= 4:
        assert {labels[row] for row in rows} >= {min(labels), max(labels)}
    else:
        assert max(labels) in {labels[row] for row in rows}


@given(st.lists(st.integers(1, 200), max_size=40), st.integers(50, 500))
def test_packs_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = pack_for_training(lengths, budget)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[row] for row in group)
        assert len(group) == 1 or longest * len(group) <= budget


def test_dev_grades_of_several_teachers_become_one_pool(tmp_path: Path) -> None:
    lines = []
    for teacher, scores in (("a", (0, 3)), ("b", (1, 5))):
        passages = [{"doc_id": f"d{at}", "text": f"t{at}", "score": score} for at, score in enumerate(scores)]
        lines.append(
            {"query_id": "q", "query": "q", "teacher": teacher, "scale": "grade", "passages": passages}
        )
    lines.append({**lines[0], "query_id": "r", "query": "r"})
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    seed = next(
        seed for seed in range(99) if [is_dev(q, share=0.5, seed=seed) for q in "qr"] == [True, False]
    )
    settings = TrainSettings.model_validate(
        {"sources": [{"path": file}], "dev": {"share": 0.5, "seed": seed}}
    )
    (only,) = dev_sets(read_sources(settings), settings.dev)
    (pool,) = only.lists
    assert pool.gains == (0, 30)

    class Backwards:
        def score(self, query: str, texts: list[str]) -> np.ndarray:
            return np.array([-float(text[1:]) for text in texts], dtype=np.float32)

    found = dev_metrics(score_sets(Backwards(), [only]), [only])
    assert found["NDCG@10"] == pytest.approx(1 / np.log2(3))


def test_a_recipe_is_read_and_options_win(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('seed = 4\n[loss]\nname = "kl"\ntemperature = 2.0\n[[sources]]\npath = "l.jsonl"\n')
    settings = load_recipe(recipe, {"loss": {"name": "listnet"}})
    assert (settings.seed, settings.loss.name, settings.loss.temperature) == (4, "listnet", 2.0)
    assert settings.sources[0].path == tmp_path / "l.jsonl"


@pytest.mark.parametrize("text", ["sede = 1", "[loss]\nname = 'hinge'", "[schedule]\nsteps = 0", "= 3"])
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(SettingsError):
        load_recipe(tmp_path / "recipe.toml", {})


def test_pairs_get_the_passages_that_share_their_words(tmp_path: Path) -> None:
    pairs = [
        {
            "query_id": "1",
            "query": "first king of france",
            "doc_id": "a",
            "text": "clovis was king of france",
        },
        {"query_id": "2", "query": "法国的首都", "doc_id": "b", "text": "巴黎是法国的首都"},
    ]
    corpus = [
        {"_id": "a", "text": "clovis was king of france"},
        {"_id": "copy", "text": "clovis was king of france"},
        {"_id": "hard", "text": "the first king of spain"},
        {"_id": "b", "text": "巴黎是法国的首都"},
        {"_id": "zh", "text": "德国的首都是柏林"},
        {"_id": "far", "text": "water boils at a hundred degrees"},
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)), encoding="utf-8")
    settings = SourceSettings(
        path=tmp_path / "pairs.jsonl", layout="pairs", corpus=tmp_path / "corpus.jsonl", negatives=2
    )
    english, chinese = pairs_as_lists(settings, seed=1)
    assert [passage.doc_id for passage in english.passages][:2] == ["a", "hard"]
    assert "copy" not in {passage.doc_id for passage in english.passages}
    assert [passage.doc_id for passage in chinese.passages][:2] == ["b", "zh"]
    assert english.scores == (1.0, 0.0, 0.0)
    assert pairs_as_lists(settings, seed=1) == [english, chinese]


def test_a_pair_without_its_fields_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"query_id": "1", "query": "x"}', encoding="utf-8")
    with pytest.raises(InputError, match="line 1: no text in doc_id, text"):
        pairs_as_lists(SourceSettings(path=tmp_path / "pairs.jsonl", layout="pairs"), seed=1)
