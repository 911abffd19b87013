"""Fine-tuning the dense encoder end to end, on a tiny real checkpoint."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from distill.embedding import job
from distill.embedding.data import EmbedData, read_data
from distill.embedding.dev import look
from distill.embedding.job import fine_tune
from distill.embedding.search import ModelEncoder, Vectors
from distill.embedding.sets import RetrievalSet
from distill.embedding.settings import EmbedSettings, read_recipe
from distill.errors import CollapseError, GateError, TrainingError
from distill.model_folder import read_model_folder
from distill.records import LabelledList, Passage, Query
from indexing.encoders.sentence_transformer import open_sentence_transformer
from tests.fakes.tiny_models import WORDS, sentence_transformer_folder

HALF = len(WORDS) // 2
TOPICS, NOISE = WORDS[:HALF], WORDS[HALF : 2 * HALF]
PAIRS = [(one, other) for one in TOPICS for other in TOPICS if one < other]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bag_of_words(tmp_path_factory.mktemp("base") / "tiny")


def bag_of_words(folder: Path) -> Path:
    """A tiny encoder whose layers and positions say little: its vectors are near the mean of random words."""
    from safetensors.numpy import load_file, save_file

    sentence_transformer_folder(folder)
    weights = load_file(folder / "model.safetensors")
    for name, value in weights.items():
        if "position" in name:
            weights[name] = value * 0.02
        elif "dense" in name and name.endswith("weight"):
            weights[name] = value * 0.1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def noisy(rng: random.Random, words: list[str], count: int = 4) -> str:
    mixed = [*words, *rng.sample(NOISE, count)]
    rng.shuffle(mixed)
    return " ".join(mixed)


def topical(count: int, *, seed: int, name: str = "pairs") -> RetrievalSet:
    """Two topic words say what a text is about; four noise words in it say nothing, which is to be learnt."""
    rng = random.Random(seed)
    picks = rng.sample(PAIRS, count)
    queries = {f"q{at}": noisy(rng, list(pick)) for at, pick in enumerate(picks)}
    corpus = {f"d{at}": noisy(rng, list(pick)) for at, pick in enumerate(picks)}
    return RetrievalSet(name, queries, corpus, {f"q{at}": {f"d{at}": 1} for at in range(count)})


def cut(given: RetrievalSet, dev: int) -> tuple[RetrievalSet, RetrievalSet]:
    ids = list(given.queries)
    return given.only(ids[dev:]), given.only(ids[:dev])


def pairs_data(*, seed: int = 3, outside: tuple[RetrievalSet, ...] = ()) -> EmbedData:
    train, dev = cut(topical(120, seed=seed), 24)
    return EmbedData((train,), (), (dev,), outside)


def settings(base: Path, **over: object) -> EmbedSettings:
    fields = {
        "base": str(base),
        "matryoshka": (),
        "negatives": {"count": 1, "margin": 0.0},
        "schedule": {
            "batch_size": 16,
            "max_steps": 24,
            "eval_steps": 12,
            "learning_rate": 3e-3,
            "threads": 1,
        },
    }
    for key, value in over.items():
        fields[key] = {**fields.get(key, {}), **value} if isinstance(value, dict) else value  # type: ignore[dict-item]
    return EmbedSettings.model_validate(fields)


def losses(caplog: pytest.LogCaptureFixture) -> list[float]:
    return [record.args[2] for record in caplog.records if record.msg.startswith("step %d of %d: loss")]


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_the_loss_falls_and_training_and_dev_pairs_rank_better(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    data = pairs_data()
    result = fine_tune(settings(base), data, tmp_path / "run")
    seen = losses(caplog)
    assert seen[-1] < 0.8 * seen[0]
    before = look(open_sentence_transformer(base), data.train)
    after = look(open_sentence_transformer(result.folder), data.train)
    assert after.mean() > before.mean() + 0.2
    [change] = result.changes
    assert change.after > change.before
    assert result.manifest.kind == "dense"
    assert result.manifest.training.steps == 24
    assert read_model_folder(result.folder) == result.manifest
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert str(tmp_path) not in (result.folder / "model.json").read_text()


def test_a_resumed_run_equals_an_uninterrupted_one_and_a_seed_repeats(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pairs_data()
    plan = settings(base, schedule={"max_steps": 12, "eval_steps": 4})
    whole = fine_tune(plan, data, tmp_path / "whole")
    again = fine_tune(plan, data, tmp_path / "again")
    real = job.look
    looks = []

    def interrupted(model: object, sets: object) -> object:
        found = real(model, sets)
        looks.append(found)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr("distill.embedding.training.look", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(plan, data, tmp_path / "cut")
    assert [one.name for one in (tmp_path / "cut" / "checkpoints").glob("checkpoint-*")] == ["checkpoint-4"]
    resumed = fine_tune(plan, data, tmp_path / "cut")
    first, second, third = (weights(one.folder) for one in (whole, again, resumed))
    assert first.keys() == second.keys() == third.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])
        np.testing.assert_allclose(value, third[key], atol=1e-6, err_msg=key)
    other = fine_tune(plan.model_copy(update={"seed": 14}), data, tmp_path / "other")
    assert any((value != weights(other.folder)[key]).any() for key, value in first.items())


def test_another_recipe_in_the_same_folder_is_refused_but_new_gate_bounds_are_not(
    base: Path, tmp_path: Path
) -> None:
    data = pairs_data()
    refused = settings(base, gate={"min_dev_gain": 0.99}, schedule={"max_steps": 4, "eval_steps": 2})
    with pytest.raises(GateError, match=r"min_dev_gain.*worse: "):
        fine_tune(refused, data, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    with pytest.raises(TrainingError, match="different: seed"):
        fine_tune(refused.model_copy(update={"seed": 1}), data, tmp_path / "run")
    with pytest.raises(TrainingError, match="different: the data"):
        fine_tune(refused, pairs_data(seed=4), tmp_path / "run")
    loose = settings(base, gate={"min_dev_gain": -1}, schedule={"max_steps": 4, "eval_steps": 2})
    result = fine_tune(loose, data, tmp_path / "run")
    assert result.manifest.training.steps == 4
    assert fine_tune(loose, data, tmp_path / "run").manifest == result.manifest


def test_a_loss_outside_the_domain_is_refused_and_names_the_queries(base: Path, tmp_path: Path) -> None:
    # Outside, what is noise here is the subject.
    rng = random.Random(5)
    texts = {f"d{at}": " ".join([*rng.sample(NOISE, 3), *rng.sample(TOPICS, 3)]) for at in range(40)}
    words = {doc_id: [one for one in text.split() if one in NOISE] for doc_id, text in texts.items()}
    queries = {f"far{at}": " ".join([*words[f"d{at}"], *rng.sample(TOPICS, 3)]) for at in range(20)}
    outside = RetrievalSet("far", queries, texts, {f"far{at}": {f"d{at}": 1} for at in range(20)})
    plan = settings(base, gate={"max_out_of_domain_drop": 0.001}, schedule={"learning_rate": 1e-2})
    with pytest.raises(GateError, match=r"on far NDCG@10 went from .*far\d+ \(-"):
        fine_tune(plan, pairs_data(outside=(outside,)), tmp_path / "run")


def test_a_collapse_stops_the_run(base: Path, tmp_path: Path) -> None:
    plan = settings(base, gate={"min_spread": 1.0}, schedule={"learning_rate": 1.0, "eval_steps": 2})
    with pytest.raises(CollapseError, match="nearly the same vector"):
        fine_tune(plan, pairs_data(), tmp_path / "run")


def test_a_dev_split_of_one_query_is_refused(base: Path, tmp_path: Path) -> None:
    train, dev = cut(topical(20, seed=1), 1)
    with pytest.raises(TrainingError, match="1 queries, and needs 2"):
        fine_tune(settings(base), EmbedData((train,), (), (dev,)), tmp_path / "run")


@pytest.mark.parametrize(
    "over",
    [
        {"precision": "bf16"},
        {"lora_rank": 4},
        {"symmetric": True},
        {"negatives": {"filter_in_batch": False, "count": 0}},
        {"negatives": {"filter_in_batch": False}, "schedule": {"micro_batch": 4}},
        {"schedule": {"accumulate": 2, "max_steps": 12, "eval_steps": 6}},
        {"precision": "bf16", "matryoshka": (16, 8)},
    ],
    ids=lambda over: "-".join(over),
)
def test_every_way_to_train_learns(base: Path, tmp_path: Path, over: dict[str, object]) -> None:
    rate = 1e-2 if "lora_rank" in over else 3e-3
    plan = settings(base, **{**over, "schedule": {"learning_rate": rate, **over.get("schedule", {})}})
    [change] = fine_tune(plan, pairs_data(), tmp_path / "run").changes
    assert change.after > change.before + 0.05
    stored = weights(tmp_path / "run" / "model")
    assert all(value.dtype == np.float32 for value in stored.values())
    assert stored.keys() == weights(base).keys()


def test_matryoshka_prefixes_keep_more_of_the_order(base: Path, tmp_path: Path) -> None:
    data = pairs_data()
    plan = settings(base, matryoshka=(4, 8), schedule={"max_steps": 40, "eval_steps": 20})
    result = fine_tune(plan, data, tmp_path / "run")
    vectors = Vectors(ModelEncoder(open_sentence_transformer(result.folder)), data.train[0])
    full, cut_to_8 = vectors.report(None).means["NDCG@10"], vectors.report(8).means["NDCG@10"]
    chance = sum(1 / np.log2(rank + 1) for rank in range(1, 11)) / len(data.train[0].corpus)
    assert cut_to_8 > 4 * chance
    assert full >= 0.9 * cut_to_8


def lists_data(*, short: int = 0) -> EmbedData:
    """A teacher that scores a passage by how many of the query's topic words it has."""
    rng = random.Random(11)
    lists = []
    for at in range(90):
        asked = rng.sample(TOPICS, 3)
        others = [one for one in TOPICS if one not in asked]
        passages, scores = [], []
        for number in range(5 if at < short else 8):
            shared = number % 4
            words = asked[:shared] + rng.sample(others, 3 - shared)
            passages.append(Passage(f"d{at}-{number}", noisy(rng, words, 5)))
            scores.append(float(shared))
        query = Query(f"q{at}", noisy(rng, asked, 5))
        lists.append(LabelledList(query, tuple(passages), tuple(scores), "counting", "grade"))
    from distill.embedding.lists import judged_by_teacher

    return EmbedData((), tuple(lists[20:]), (judged_by_teacher("dev", lists[:20], lists),))


@pytest.mark.parametrize(
    "over", [{}, {"matryoshka": (16,)}, {"precision": "bf16"}], ids=["plain", "prefix", "bf16"]
)
def test_a_teachers_scores_teach_the_order(base: Path, tmp_path: Path, over: dict[str, object]) -> None:
    plan = settings(base, loss="kl", scale=10.0, schedule={"max_steps": 30, "eval_steps": 15}, **over)
    result = fine_tune(plan, lists_data(short=30), tmp_path / "run")
    [change] = result.changes
    assert change.after > change.before + 0.1
    assert result.manifest.teachers == ({"teacher": "counting"},)
    assert result.manifest.training.lists == 70


def test_data_and_loss_must_fit(base: Path, tmp_path: Path) -> None:
    for one in ({"loss": "kl"}, {"loss": "infonce"}):
        with pytest.raises(TrainingError, match=one["loss"]):
            read_data(settings(base, **one))


def test_a_recipe_gives_way_to_options_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('loss = "kl"\n[schedule]\nbatch_size = 8\nepochs = 2.0\n', encoding="utf-8")
    found = read_recipe(recipe, {"schedule": {"batch_size": 4, "epochs": None}, "seed": None})
    assert (found.loss, found.schedule.batch_size, found.schedule.epochs) == ("kl", 4, 2.0)
    from indexing.errors import SettingsError

    for over in ({"schedule": {"batch": 3}}, {"loss": "triplet"}, {"list_size": 16, "matryoshka": [16]}):
        with pytest.raises(SettingsError, match=r"schedule|loss|list_size"):
            read_recipe(recipe, over)


def test_the_command_line_trains_prints_json_and_says_what_is_next(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from distill.cli import main
    from distill.embedding.sets import write_qa_dataset

    path = tmp_path / "pairs.json"
    write_qa_dataset(topical(60, seed=2), path)
    capsys.readouterr()
    run = tmp_path / "run"
    arguments = ["embed", "--output", str(run), "--data", str(path), "--base", str(base), "--name", "mine"]
    options = [
        "--negatives",
        "1",
        "--margin",
        "0",
        "--batch-size",
        "16",
        "--max-steps",
        "8",
        "--eval-steps",
        "4",
    ]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("dev_share = 0.3\n[gate]\nmin_dev_gain = -1.0\n", encoding="utf-8")
    code = main([*arguments, *options, "--learning-rate", "3e-3", "--config", str(recipe), "--threads", "1"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert json.loads(out)["model"] == str(run / "model")
    assert f"indexing.encoders.export {run}/model {run}/exported --name mine" in err
    assert main([*arguments, "--layout", "tsv"]) == 2
    assert main([*arguments, "--matryoshka", "a,b"]) == 2
