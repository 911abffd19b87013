"""Whole runs on a tiny cross-encoder: what they write, how they resume, what stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill.errors import CollapseError, TrainingError
from distill.model_folder import read_model_folder
from distill.students import StudentSettings, open_student
from distill.training.guard import Guard
from distill.training.run import newest_checkpoint, train
from distill.training.settings import GuardSettings, TrainSettings
from indexing.settings import RerankSettings
from retrieval.rerank import SentenceTransformersReranker
from tests.fakes.cross_encoder import build_cross_encoder
from tests.fakes.training_labels import write_labels

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cross_encoder(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labels(tmp_path_factory.mktemp("labels") / "labels.jsonl", queries=24)


def recipe(base: Path, labels: Path, **changes: Any) -> TrainSettings:
    fields: dict[str, Any] = {
        "student": {"base": str(base), "max_tokens": 64, "name": "tiny"},
        "sources": [{"path": str(labels), "lists_per_step": 2, "list_size": 4}],
        "optimiser": {"learning_rate": 1e-3},
        "schedule": {"steps": 6, "evaluate_every": 2, "threads": 1, "device": "cpu", "token_budget": 256},
        "dev": {"share": 0.3, "seed": 1},
    }
    for name, value in changes.items():
        fields[name] = {**fields.get(name, {}), **value} if isinstance(value, Mapping) else value
    return TrainSettings.model_validate(fields)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "training.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(base: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps."""
    run = tmp_path_factory.mktemp("finished") / "run"
    train(recipe(base, labels), run, teachers=[{"teacher": "llm", "model": "some-llm"}])
    return run


def test_a_run_writes_a_model_that_the_service_loads(finished: Path, labels: Path) -> None:
    manifest = read_model_folder(finished / "model")
    assert (manifest.kind, manifest.name, manifest.base) == ("cross-encoder", "tiny", "tiny")
    assert manifest.teachers == ({"teacher": "llm", "model": "some-llm"},)
    assert manifest.training.lists + count_dev(labels) == 24
    assert manifest.training.recipe["sources"][0]["path"] == "labels.jsonl"
    assert str(labels.parent) not in (finished / "model" / "model.json").read_text(encoding="utf-8")
    texts = ["cash cash tax", "board", "profit " * 90]
    served = SentenceTransformersReranker(finished / "model", RerankSettings(max_tokens=64))
    student = open_student(StudentSettings(base=str(finished / "model"), max_tokens=64))
    np.testing.assert_allclose(
        student.score("how much cash", texts), served.score("how much cash", texts).logits, atol=1e-4
    )


def test_the_journal_has_every_dev_figure_and_the_best_is_kept(finished: Path) -> None:
    rows = events(finished)
    assert [row["event"] for row in rows if row["event"] != "step"] == ["before", "dev", "dev", "dev", "done"]
    figures = [row["eval_ndcg"] for row in rows if row["event"] == "dev"]
    manifest = read_model_folder(finished / "model")
    assert manifest.metrics["dev_ndcg@10"] == pytest.approx(max(figures))
    assert manifest.training.steps == 2 * (1 + figures.index(max(figures)))
    assert 0 <= float(str(manifest.metrics["padding_share"])) < 0.3


def test_training_lowers_the_loss(base: Path, labels: Path, tmp_path: Path) -> None:
    sources = [{"path": str(labels), "lists_per_step": 4, "list_size": 6}]
    schedule = {"steps": 20, "evaluate_every": 10, "token_budget": 512}
    train(recipe(base, labels, sources=sources, schedule=schedule, dev={"queries": 1}), tmp_path / "run")
    first, last = [row["loss"] for row in events(tmp_path / "run") if row["event"] == "step"]
    assert last < 0.9 * first


def test_a_finished_run_is_not_run_again(finished: Path, base: Path, labels: Path) -> None:
    stamp = (finished / "model" / "model.json").stat().st_mtime_ns
    train(recipe(base, labels), finished)
    assert (finished / "model" / "model.json").stat().st_mtime_ns == stamp
    with pytest.raises(TrainingError, match=r"another recipe \(different: seed\)"):
        train(recipe(base, labels, seed=99), finished)


def test_the_same_seed_gives_the_same_weights(
    finished: Path, base: Path, labels: Path, tmp_path: Path
) -> None:
    train(recipe(base, labels), tmp_path / "again")
    train(recipe(base, labels, seed=99), tmp_path / "other")
    first, again = weights(finished / "model"), weights(tmp_path / "again" / "model")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(
        not torch.equal(first[name], value) for name, value in weights(tmp_path / "other" / "model").items()
    )


def test_a_killed_run_ends_with_the_same_weights(base: Path, labels: Path, tmp_path: Path) -> None:
    settings = recipe(
        base, labels, schedule={"steps": 16, "evaluate_every": 2, "patience": 0}, optimiser={"average": 0.9}
    )
    config = write_recipe(settings, tmp_path / "recipe.toml")
    process = subprocess.Popen(
        [sys.executable, "-m", "distill", "train", "--config", config, "--output", tmp_path / "killed"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        wait_for(lambda: newest_checkpoint(tmp_path / "killed" / "checkpoints"), process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
    assert not (tmp_path / "killed" / "model").exists(), "it ended before it was killed"
    train(settings, tmp_path / "killed")
    assert any(row["event"] == "resumed" and row["step"] % 2 == 0 for row in events(tmp_path / "killed"))
    train(settings, tmp_path / "whole")
    killed, whole = (weights(tmp_path / name / "model") for name in ("killed", "whole"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((4, '{"global_step": 4}'), (8, '{"global_st')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-12").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-4"


def test_two_processes_give_what_one_gives_that_accumulates(base: Path, labels: Path, tmp_path: Path) -> None:
    # Dropout draws from each process' own random state, so it is off here.
    still = {"dropout": False}
    config = write_recipe(recipe(base, labels, optimiser=still), tmp_path / "recipe.toml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "distill", "train", "--config", config, "--output", tmp_path / "two"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    train(recipe(base, labels, optimiser=still, schedule={"accumulate": 2}), tmp_path / "one")
    two, one = (events(tmp_path / name) for name in ("two", "one"))
    assert [row["event"] for row in two] == [row["event"] for row in one]  # one process writes, once
    for ours, theirs in zip(two, one, strict=True):
        for figure in {"loss", "eval_ndcg"} & theirs.keys():
            assert ours[figure] == pytest.approx(theirs[figure], rel=1e-3)
    # Not the weights one by one: where a gradient is zero up to rounding (a key's
    # bias), Adam makes a whole step of the rounding.
    scores = [
        open_student(StudentSettings(base=str(tmp_path / name / "model"), max_tokens=64)).score(
            "how much cash", ["cash cash tax", "board", "profit tax"]
        )
        for name in ("two", "one")
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-2)


def test_lora_moves_adapters_and_head_and_saves_plain_weights(
    base: Path, labels: Path, tmp_path: Path
) -> None:
    train(recipe(base, labels, lora={"rank": 4}), tmp_path / "run")
    before, after = weights(base), weights(tmp_path / "run" / "model")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("attention" in name for name in moved)
    assert any("classifier" in name for name in moved)
    assert not any("embeddings" in name or "LayerNorm" in name for name in moved)
    stored = load_file(newest_checkpoint(tmp_path / "run" / "checkpoints") / "student.safetensors")
    assert all("lora_" in name or "classifier" in name for name in stored)


def test_bf16_accumulation_and_checkpointed_activations(base: Path, labels: Path, tmp_path: Path) -> None:
    schedule = {"precision": "bf16", "accumulate": 2, "checkpoint_activations": True, "steps": 2}
    result = train(recipe(base, labels, schedule=schedule), tmp_path / "run")
    assert all(value.dtype == torch.float32 for value in weights(result.folder).values())
    assert all(np.isfinite(row["loss"]) for row in events(tmp_path / "run") if row["event"] == "step")


def test_frozen_layers_stay(base: Path, labels: Path, tmp_path: Path) -> None:
    frozen = {"freeze_layers": 1, "freeze_embeddings": True}
    result = train(recipe(base, labels, optimiser=frozen), tmp_path / "run")
    before, after = weights(base), weights(result.folder)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("layer.1." in name for name in moved)
    assert not any("layer.0." in name or "embeddings" in name for name in moved)


def test_a_run_stops_where_dev_gets_no_better(base: Path, labels: Path, tmp_path: Path) -> None:
    schedule = {"steps": 200, "evaluate_every": 1, "patience": 2, "min_gain": 0.9}
    train(recipe(base, labels, schedule=schedule), tmp_path / "run")
    assert events(tmp_path / "run")[-1]["steps"] == 3


def test_a_loss_that_is_not_finite_stops_the_run(base: Path, labels: Path, tmp_path: Path) -> None:
    broken = recipe(base, labels, optimiser={"learning_rate": 1.0, "max_grad_norm": 0.0, "weight_decay": 0.0})
    broken = broken.model_copy(update={"guard": GuardSettings(collapse_std=0.0)})
    labels_far = write_far(labels, tmp_path / "far.jsonl")
    settings = broken.model_copy(
        update={
            "sources": (broken.sources[0].model_copy(update={"path": labels_far, "normalise": "none"}),),
            "loss": broken.loss.model_copy(update={"name": "margin-mse"}),
        }
    )
    with pytest.raises(TrainingError, match=r"the loss is (inf|nan) at step"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_scores_that_no_longer_differ_stop_the_run(base: Path, labels: Path, tmp_path: Path) -> None:
    settings = recipe(base, labels, guard={"collapse_std": 1e9, "collapse_steps": 3})
    with pytest.raises(CollapseError, match="nearly the same score"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_the_guard_looks_only_at_lists_that_differ() -> None:
    guard = Guard(GuardSettings(collapse_std=0.1, collapse_steps=2))
    mask = torch.ones(1, 3, dtype=torch.bool)
    same, differ = torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 2.0]])
    loss = torch.tensor(0.5)
    for _ in range(5):
        guard.look(loss, same, same, mask, step=0)  # equal labels: equal scores are right
    guard.look(loss, same, differ, mask, step=1)
    guard.look(loss, differ, differ, mask, step=2)  # recovers
    guard.look(loss, same, differ, mask, step=3)
    with pytest.raises(CollapseError):
        guard.look(loss, same, differ, mask, step=4)


def test_an_average_is_what_is_evaluated_and_kept(base: Path, labels: Path, tmp_path: Path) -> None:
    train(recipe(base, labels, optimiser={"average": 0.999}), tmp_path / "run")
    best = read_model_folder(tmp_path / "run" / "model").training.steps
    checkpoint = tmp_path / "run" / "checkpoints" / f"checkpoint-{best}"
    average, raw = (load_file(checkpoint / f"{name}.safetensors") for name in ("average", "student"))
    published = weights(tmp_path / "run" / "model")
    assert all(torch.equal(published[name.removeprefix("model.")], value) for name, value in average.items())
    assert any(not torch.equal(raw[name], value) for name, value in average.items())


def test_late_interaction_trains_by_the_same_loop(labels: Path, tmp_path: Path) -> None:
    from tests.fakes.tiny_models import sentence_transformer_folder

    folder = sentence_transformer_folder(tmp_path / "encoder")
    student = {"kind": "late-interaction", "base": str(folder), "max_tokens": 48}
    result = train(recipe(folder, labels, student=student), tmp_path / "run")
    assert read_model_folder(result.folder).kind == "late-interaction"
    before, after = weights(folder), weights(result.folder)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    texts = ["cash cash tax", "board"]
    first, again = (
        open_student(StudentSettings.model_validate({**student, "base": str(path)})).score("cash", texts)
        for path in (folder, result.folder)
    )
    assert not np.allclose(first, again)


def test_a_base_without_a_head_gets_a_fresh_one(tmp_path: Path) -> None:
    from tests.fakes.tiny_models import sentence_transformer_folder

    folder = sentence_transformer_folder(tmp_path / "encoder")
    torch.manual_seed(0)
    student = open_student(StudentSettings(base=str(folder), max_tokens=48))
    scores = student.score("bank money", ["river", "bank loan money", "the lazy dog"])
    assert len(set(scores.tolist())) == 3
    assert student.head == ("model.bert.pooler", "model.classifier")


@pytest.mark.parametrize("bert", [False, True])
def test_packing_and_order_change_no_score(tmp_path: Path, bert: bool) -> None:
    folder = build_cross_encoder(tmp_path / "tiny", bert=bert)
    student = open_student(StudentSettings(base=str(folder), max_tokens=64))
    texts = [" ".join(["cash", "tax", "board"][: 1 + place % 3] * (1 + place)) for place in range(9)]
    alone = np.array([student.score("how much cash", [text])[0] for text in texts])
    together = student.score("how much cash", texts)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    with torch.inference_mode():
        features = student.tokenise(["how much cash", "tax"], [texts, texts[:2]], token_budget=64)
        packed = student.module.eval()(**features).numpy()
    assert len(features["packs"]) > 3
    np.testing.assert_allclose(packed[0], alone, atol=1e-5)
    np.testing.assert_allclose(packed[1, :2], student.score("tax", texts[:2]), atol=1e-5)


def test_a_student_may_keep_the_lowest_layers(base: Path, labels: Path, tmp_path: Path) -> None:
    small = {"student": {"layers": 1}, "optimiser": {"learning_rate": 1e-9, "weight_decay": 0.0}}
    settings = recipe(base, labels, schedule={"steps": 1}, **small)
    train(settings, tmp_path / "run")
    kept, whole = weights(tmp_path / "run" / "model"), weights(base)
    assert not any(".layer.1." in name for name in kept)
    assert kept.keys() == {name for name in whole if ".layer.1." not in name}
    # What is kept is the base's own, not a fresh draw.
    assert all(torch.allclose(value, whole[name], atol=1e-6) for name, value in kept.items())
    with pytest.raises(TrainingError, match=r"layers is 3, but tiny has 2 layers"):
        open_student(StudentSettings(base=str(base), layers=3))


def test_a_run_of_an_earlier_version_goes_on(finished: Path, base: Path, labels: Path) -> None:
    path = finished / "recipe.json"
    known = json.loads(path.read_text())
    del known["student"]["layers"]  # a setting that came later
    path.write_text(json.dumps(known))
    assert train(recipe(base, labels), finished).folder == finished / "model"
    with pytest.raises(TrainingError, match="different: seed"):
        train(recipe(base, labels, seed=99), finished)


def test_a_base_that_is_no_folder_is_refused() -> None:
    with pytest.raises(TrainingError, match="models are not downloaded"):
        open_student(StudentSettings(base="BAAI/bge-reranker-v2-m3"))


def count_dev(labels: Path) -> int:
    from distill.split import is_dev

    ids = [json.loads(line)["query_id"] for line in labels.read_text(encoding="utf-8").splitlines()]
    return sum(is_dev(query_id, share=0.3, seed=1) for query_id in ids)


def write_recipe(settings: TrainSettings, path: Path) -> Path:
    """The settings as a TOML file: JSON's scalars, arrays and strings are TOML's."""
    fields = settings.model_dump(mode="json", exclude_none=True)
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in fields.items() if not isinstance(value, dict | list)
    ]
    for key, value in fields.items():
        if isinstance(value, dict):
            lines += [f"[{key}]", *(f"{name} = {json.dumps(one)}" for name, one in value.items())]
    for source in fields["sources"]:
        lines += ["[[sources]]", *(f"{name} = {json.dumps(one)}" for name, one in source.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_far(labels: Path, path: Path) -> Path:
    """The same lists with scores whose squares are not finite in fp32."""
    with path.open("w", encoding="utf-8") as file:
        for line in labels.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for passage in row["passages"]:
                passage["score"] *= 1e30
            file.write(json.dumps(row) + "\n")
    return path


def wait_for(ready: Any, process: subprocess.Popen[bytes]) -> None:
    """Wait until ``ready`` is, or fail with what the process said."""
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            _, said = process.communicate(timeout=PATIENCE_S)
            pytest.fail(f"exit {process.returncode}: {said.decode()[-3000:]}")
        time.sleep(0.01)
