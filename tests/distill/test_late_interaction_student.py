"""The late-interaction student on a tiny encoder: its score by hand, padding, packing, its folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from distill.errors import TrainingError
from distill.students import StudentSettings, open_student
from distill.students.late_interaction import INTERACTION, START, LateInteractionStudent
from distill.training.run import train
from distill.training.settings import TrainSettings
from retrieval.exported_manifest import Interaction
from retrieval.interaction import with_feedback
from tests.fakes.tiny_models import sentence_transformer_folder
from tests.fakes.training_labels import write_labels

QUERY = "what is the capital of france"
TEXTS = [
    "paris",
    "the capital of france",
    "money and a loan from the bank, and water in the river flows over the lazy dog",
    "a query",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_transformer_folder(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def student(base: Path) -> LateInteractionStudent:
    return opened(base)


def opened(folder: Path, **changes: object) -> LateInteractionStudent:
    settings = StudentSettings.model_validate({"kind": "late-interaction", "base": str(folder), **changes})
    found = open_student(settings)
    assert isinstance(found, LateInteractionStudent)
    return found


def vectors(folder: Path, text: str) -> np.ndarray:
    """Last hidden states of one text, alone and unpadded, by transformers itself."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return (
            AutoModel.from_pretrained(folder)(**tokenizer(text, return_tensors="pt"))
            .last_hidden_state[0]
            .numpy()
        )


def by_hand(folder: Path, query: str, text: str) -> float:
    unit = [
        states / np.linalg.norm(states, axis=1, keepdims=True)
        for states in (vectors(folder, query), vectors(folder, text))
    ]
    means = [vectors(folder, one).mean(axis=0) for one in (query, text)]
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    best = [max(float(q @ p) for p in unit[1][1:-1]) for q in unit[0][1:-1]]
    features = {"cosine": cosine, "maxsim": sum(best) / len(best), "weakest": min(best)}
    return float(sum(START[name] * value for name, value in features.items()))


def test_score_is_the_formula_by_hand(base: Path, student: LateInteractionStudent) -> None:
    got = student.score(QUERY, TEXTS)
    assert got.dtype == np.float32
    assert got == pytest.approx([by_hand(base, QUERY, text) for text in TEXTS], abs=1e-4)


def test_one_by_one_in_small_packs_and_in_one_batch_are_the_same(student: LateInteractionStudent) -> None:
    queries, lists = [QUERY, "bank"], [TEXTS, TEXTS[2:]]
    with torch.no_grad():
        wide = student.module(**student.tokenise(queries, lists, token_budget=4096))
        narrow = student.module(**student.tokenise(queries, lists, token_budget=8))
    assert wide.shape == narrow.shape == (2, 4)
    assert torch.allclose(wide, narrow, atol=1e-5)
    for row, texts in enumerate(lists):
        alone = [float(student.score(queries[row], [text])[0]) for text in texts]
        assert wide[row, : len(texts)].tolist() == pytest.approx(alone, abs=1e-5)


def test_special_tokens_and_padding_are_not_compared(student: LateInteractionStudent) -> None:
    features = student.tokenise([QUERY, "bank"], [["paris"], TEXTS[:3]], token_budget=4096)
    batches = [features["queries"], *(pack["texts"] for pack in features["packs"])]
    for texts in batches:
        counts = texts["attention_mask"].sum(1) - 2  # [CLS] and [SEP]
        assert texts["content"].sum(1).tolist() == counts.tolist()
        assert not texts["content"][:, 0].any()


def test_texts_without_tokens_score_their_cosine_alone(student: LateInteractionStudent) -> None:
    got = student.score(QUERY, ["", "paris"])
    assert np.isfinite(got).all()
    assert abs(float(got[0])) <= START["cosine"] + 1e-5
    empty_query = student.score("", ["paris"])
    assert abs(float(empty_query[0])) <= START["cosine"] + 1e-5


def test_gradients_are_finite_and_reach_encoder_and_coefficients(student: LateInteractionStudent) -> None:
    module = student.module
    logits = module(**student.tokenise([QUERY, "bank"], [["", *TEXTS], TEXTS[:2]], token_budget=64))
    (logits[0, :5].square().sum() + logits[1, :2].sum()).backward()
    gradients = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    assert all(torch.isfinite(one).all() for one in gradients.values())
    assert gradients["log_coefficients"].abs().min() > 0
    assert any(one.abs().max() > 0 for name, one in gradients.items() if name.startswith("encoder."))


def test_dropout_is_off_while_training(student: LateInteractionStudent) -> None:
    student.module.train()
    features = student.tokenise([QUERY], [TEXTS], token_budget=4096)
    with torch.no_grad():
        assert torch.equal(student.module(**features), student.module(**features))


def test_long_queries_are_cut_at_the_query_limit(base: Path, student: LateInteractionStudent) -> None:
    limit = student.interaction.query_tokens
    long = "bank " * 60
    width = student.tokenise([long], [["paris"]], token_budget=4096)["queries"]["input_ids"].shape[1]
    assert width == limit == 32
    small = opened(base, max_tokens=16)
    assert small.tokenise(["a"], [[long]], token_budget=4096)["packs"][0]["texts"]["input_ids"].shape[1] == 16


def test_saved_folder_gives_the_same_scores(tmp_path: Path, student: LateInteractionStudent) -> None:
    with torch.no_grad():
        student.module.log_coefficients += torch.tensor([0.5, -0.25, 0.125])
        student.module.encoder.embeddings.word_embeddings.weight *= 1.1
    student.save(tmp_path / "saved")
    again = opened(tmp_path / "saved")
    assert again.score(QUERY, TEXTS) == pytest.approx(student.score(QUERY, TEXTS), abs=1e-6)
    written = Interaction.model_validate_json((tmp_path / "saved" / INTERACTION).read_bytes())
    assert written.coefficients["maxsim"] == pytest.approx(START["maxsim"] * np.exp(-0.25), rel=1e-5)
    assert not list((tmp_path / "saved").glob("*.bin"))


def test_a_student_of_one_layer_has_the_lower_layers_vectors(base: Path) -> None:
    small = opened(base, layers=1)
    model = AutoModel.from_pretrained(base)
    tokens = AutoTokenizer.from_pretrained(base)(TEXTS[1], return_tensors="pt")
    with torch.no_grad():
        lower = model(**tokens, output_hidden_states=True).hidden_states[1]
        found = small.module.encoder(**tokens).last_hidden_state
    assert torch.allclose(found, lower, atol=1e-6)
    with pytest.raises(TrainingError, match="has 2 layers"):
        opened(base, layers=9)


def test_fresh_head_forgets_the_coefficients(tmp_path: Path, student: LateInteractionStudent) -> None:
    with torch.no_grad():
        student.module.log_coefficients += 1.0
    student.save(tmp_path / "saved")
    fresh = opened(tmp_path / "saved", head="fresh")
    assert fresh.interaction.coefficients == pytest.approx(START, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"coefficients": {"cosine": 1.0}}, "it needs cosine, maxsim, weakest"),
        ({"coefficients": {**START, "weakest": -1.0}}, "not positive"),
        ({"tokens": {"start": 0, "stop": 8}}, "all 32 channels"),
        ({"coefficients": "none"}, "does not describe"),
    ],
)
def test_foreign_scores_are_refused(
    tmp_path: Path, student: LateInteractionStudent, change: dict[str, object], said: str
) -> None:
    student.save(tmp_path / "saved")
    path = tmp_path / "saved" / INTERACTION
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(TrainingError, match=said):
        opened(tmp_path / "saved")


def test_a_run_learns_the_labels(tmp_path: Path, base: Path) -> None:
    # Turned round: an untrained MaxSim already finds the query's word.
    labels = write_labels(tmp_path / "labels.jsonl")
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    for row in rows:
        for passage in row["passages"]:
            passage["score"] = 3.0 - passage["score"]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = TrainSettings.model_validate(
        {
            "student": {"kind": "late-interaction", "base": str(base), "max_tokens": 48, "name": "tiny"},
            "sources": [{"path": str(labels), "lists_per_step": 4, "list_size": 6}],
            "optimiser": {"learning_rate": 3e-3},
            "schedule": {
                "steps": 30,
                "evaluate_every": 15,
                "threads": 1,
                "device": "cpu",
                "token_budget": 512,
            },
            "dev": {"share": 0.3, "seed": 1},
        }
    )
    result = train(settings, tmp_path / "run")
    figures = result.manifest.metrics
    assert result.manifest.kind == "late-interaction"
    assert INTERACTION in result.manifest.files
    assert figures["dev_ndcg@10"] > figures["dev_ndcg@10_before"]


def test_feedback_by_hand_and_only_outside_training(base: Path, student: LateInteractionStudent) -> None:
    weight, sharpness = 6.0, 0.5
    fed = opened(base, feedback_weight=weight, feedback_sharpness=sharpness)
    first = student.score(QUERY, TEXTS).astype(float)
    units = [vectors(base, text).mean(axis=0) for text in TEXTS]
    units = [one / np.linalg.norm(one) for one in units]
    for row, got in enumerate(fed.score(QUERY, TEXTS)):
        others = [other for other in range(len(TEXTS)) if other != row]
        shares = np.exp(sharpness * (first[others] - first.max()))
        similar = sum(
            share * float(units[row] @ units[other]) for share, other in zip(shares, others, strict=True)
        )
        assert got == pytest.approx(first[row] + weight * similar / shares.sum(), abs=1e-4)
    assert fed.score(QUERY, TEXTS[:1]) == pytest.approx(student.score(QUERY, TEXTS[:1]), abs=1e-6)
    with torch.no_grad():
        batch = fed.tokenise([QUERY, "bank"], [TEXTS, TEXTS[1:3]], token_budget=64)
        together = fed.module.eval()(**batch)
        trained = fed.module.train()(**batch)
    assert together[0].tolist() == pytest.approx(fed.score(QUERY, TEXTS).tolist(), abs=1e-4)
    assert together[1, :2].tolist() == pytest.approx(fed.score("bank", TEXTS[1:3]).tolist(), abs=1e-4)
    assert trained[0].tolist() == pytest.approx(first.tolist(), abs=1e-4)


def test_feedback_is_kept_in_the_folder_unless_asked_otherwise(base: Path, tmp_path: Path) -> None:
    opened(base, feedback_weight=6.0, feedback_sharpness=0.5).save(tmp_path / "saved")
    kept = opened(tmp_path / "saved").interaction.feedback
    assert kept is not None
    assert (kept.weight, kept.sharpness) == (6.0, 0.5)
    assert opened(tmp_path / "saved", feedback_weight=0).interaction.feedback is None


def test_numpy_and_torch_give_the_same_feedback(base: Path) -> None:
    fed = opened(base, feedback_weight=6.0, feedback_sharpness=0.5)
    plain = opened(base)
    pooled = np.stack([vectors(base, text).mean(axis=0) for text in TEXTS]).astype(np.float32)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    feedback = fed.interaction.feedback
    assert feedback is not None
    got = with_feedback(plain.score(QUERY, TEXTS), pooled, feedback)
    assert got == pytest.approx(fed.score(QUERY, TEXTS), abs=1e-4)
