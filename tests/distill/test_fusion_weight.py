"""The dense side's weight from labels: passages' names, folds that did not choose, the command."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from distill.cli import main
from distill.errors import DistillError
from distill.fusion_weight import FusionSettings, Weighed, choose, grid, names, weigh
from distill.records import slice_of
from distill.training.dev import DevList
from retrieval.records import Ranks, Receipt, Scores, SearchRequest, SearchResponse, SearchResult

# The documents say the first word, the questions ask with the second: the sparse side finds nothing.
SYNONYMS = """car automobile, doctor physician, sofa couch, child kid, house dwelling, sea ocean, rock stone,
ship boat, gift present, road street, sickness illness, joy happiness, rabbit bunny, soil dirt,
lawyer attorney, movie film, trash garbage, autumn fall, infant baby, store shop"""
PAIRS = [tuple(pair.split()) for pair in SYNONYMS.split(",")]


def result(doc_id: str, start: int = 0, end: int = 10) -> SearchResult:
    return SearchResult(
        id=f"{doc_id}@{start}",
        doc_id=doc_id,
        source="s",
        title="",
        section="",
        page=None,
        text="t",
        window="t",
        start=start,
        end=end,
        score=1.0,
        ranks=Ranks(1, None, 1, None),
        scores=Scores(1.0, None, 1.0, None),
        window_start=start,
        window_end=end,
        highlights=(),
        sources=(),
    )


class Fixed:
    """Gives the same passages for every question and keeps the requests."""

    def __init__(self, results: Sequence[SearchResult]) -> None:
        self.results = tuple(results)
        self.requests: list[SearchRequest] = []

    async def search(self, request: SearchRequest) -> SearchResponse:
        self.requests.append(request)
        return SearchResponse(self.results, Receipt(()))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.pdf#0-12", ("a.pdf", 0, 12)),
        ("a#1-2#3-4", ("a#1-2", 3, 4)),
        ("two\nlines#5-6", ("two\nlines", 5, 6)),
        ("a.pdf", None),
        ("a#b-c", None),
    ],
)
def test_the_name_of_a_mined_passage(name: str, found: tuple[str, int, int] | None) -> None:
    assert slice_of(name) == found


def test_results_go_by_the_names_of_their_labels() -> None:
    gains = {"a#0-20": 10, "a#10-40": 30, "b": 20}
    results = [
        result("a", 12, 18),  # in both slices: the one that gains more
        result("a", 0, 5),  # in the first alone
        result("a", 30, 45),  # over the edge of the second: no label
        result("b", 900, 910),  # a labelled document, wherever
        result("b", 0, 5),  # the same document again
        result("c", 0, 5),
        result("c", 7, 9),  # unlabelled passages of slices stand for themselves
    ]
    assert names(results, gains) == ["a#10-40", "a#0-20", "a@30", "b", "c@0", "c@7"]
    assert names([result("c", 0, 5), result("c", 7, 9)], {"b": 1}) == ["c"]  # documents are labelled


def test_unlabelled_passages_gain_nothing_and_keep_their_places() -> None:
    pool = DevList("0:q", "what", ("a", "b"), ("", ""), (30, 0))
    search = Fixed([result("x"), result("a"), result("b")])
    weighed = anyio.run(weigh, search, [pool], "tenant")
    assert weighed.scores == pytest.approx([0.6309], abs=1e-4)  # 1 / log2(3)
    assert weighed.judged == pytest.approx(2 / 3)
    (request,) = search.requests
    assert (request.mode, request.rerank, request.tenant) == ("hybrid", False, "tenant")
    assert anyio.run(weigh, Fixed([]), [pool], "tenant") == Weighed((0.0,), 0.0)


def test_weights_to_try_hold_the_one_in_service() -> None:
    assert grid(4, 0.5) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert grid(2, 0.3) == [0.0, 0.3, 0.5, 1.0]


def scored(per_weight: dict[float, Sequence[float]]) -> dict[float, Weighed]:
    return {weight: Weighed(tuple(scores), 1.0) for weight, scores in per_weight.items()}


def asked(table: dict[float, Weighed]) -> list[str]:
    return [f"question {number}" for number in range(len(table[0.5].scores))]


def test_lists_of_one_question_do_not_judge_their_own_choice() -> None:
    # Each question is better off with a weight of its own, which no other question would choose.
    own = {number: round(0.02 * number + 0.01, 2) for number in range(25)}
    questions = [f"question {number}" for number in own for _ in range(4)]
    table = {
        weight: [1.0 if weight == own[number] else 0.0 for number in own for _ in range(4)]
        for weight in own.values()
    }
    choice = choose(scored({0.5: [0.0] * 100, **table}), questions, 0.5, FusionSettings())
    assert (choice.held_out, choice.weight) == (0.0, 0.5)


def test_a_weight_that_is_better_everywhere_is_chosen() -> None:
    draw = random.Random(3)
    current = [draw.random() * 0.5 for _ in range(60)]
    table = scored({0.0: [0.0] * 60, 0.5: current, 0.8: [one + 0.1 for one in current], 1.0: current})
    choice = choose(table, asked(table), 0.5, FusionSettings())
    assert (choice.best, choice.weight) == (0.8, 0.8)
    assert choice.held_out - choice.before == pytest.approx(0.1)
    assert choice.p < 0.001


def test_the_luckiest_of_many_equal_weights_is_not_chosen() -> None:
    changed = 0
    for seed in range(40):
        draw = random.Random(seed)
        table = scored({step / 10: [draw.random() for _ in range(60)] for step in range(11)})
        choice = choose(table, asked(table), 0.5, FusionSettings(seed=seed))
        assert max(one.mean for one in table.values()) == table[choice.best].mean
        changed += choice.weight != 0.5
    # One in forty is what a p of .05 and a gain above 0 promise; measured on the questions that chose,
    # the best of eleven would be better nearly always.
    assert changed <= 4


def test_of_equal_weights_the_nearest_to_the_one_in_service() -> None:
    table = scored({weight: [0.4] * 30 for weight in (0.0, 0.3, 0.5, 0.6, 1.0)})
    assert choose(table, asked(table), 0.5, FusionSettings()).best == 0.5
    better = scored({0.2: [0.6] * 30, 0.5: [0.4] * 30, 0.6: [0.6] * 30})
    assert choose(better, asked(better), 0.5, FusionSettings()).best == 0.6


def test_too_few_questions_are_refused() -> None:
    with pytest.raises(DistillError, match="at least 20"):
        choose(
            scored({0.5: [0.1] * 19, 1.0: [0.9] * 19}), [f"q{n}" for n in range(19)], 0.5, FusionSettings()
        )
    with pytest.raises(DistillError, match="1 labelled questions"):  # thirty lists of one question
        choose(scored({0.5: [0.1] * 30, 1.0: [0.9] * 30}), ["What?", "what"] * 15, 0.5, FusionSettings())


@pytest.fixture(scope="module")
def synonyms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An index where only the dense side finds anything, and the labels of 20 questions."""
    from indexing.ingest import add_paths
    from indexing.session import Index
    from indexing.settings import load_settings

    folder = tmp_path_factory.mktemp("synonyms")
    corpus, home, labels = folder / "corpus.jsonl", folder / "home", folder / "labels.jsonl"
    documents = [{"_id": said, "title": "", "text": f"All about the {said}."} for said, _ in PAIRS]
    corpus.write_text("".join(json.dumps(one) + "\n" for one in documents), encoding="utf-8")
    with Index.open(load_settings(home=home, collection={"idle_exit_s": 1.0})) as index:
        assert not add_paths(index, [corpus]).failures
    rows = []
    for (said, asked), (other, _) in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True):
        passages = [{"doc_id": said, "text": "", "score": 3.0}, {"doc_id": other, "text": "", "score": 0.0}]
        rows.append(
            {"query_id": said, "query": asked, "teacher": "t", "scale": "grade", "passages": passages}
        )
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return home, labels


def test_the_command_says_what_to_set(
    synonyms: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, labels = synonyms
    command = ["fusion", "--labels", str(labels), "--home", str(home), "--steps", "2"]
    monkeypatch.setenv("WINNOW_RETRIEVAL__DENSE_WEIGHT", "0")
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "0             0.000    0%  in service" in shown
    assert "against 0.000" in shown
    assert "20 questions" in shown
    assert "set retrieval.dense_weight = 0.5" in shown
    monkeypatch.setenv("WINNOW_RETRIEVAL__DENSE_WEIGHT", "1")
    assert main(command) == 0
    assert "keep retrieval.dense_weight = 1: no other is shown to be better" in capsys.readouterr().out


def test_wrong_arguments_are_said(synonyms: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    home, labels = synonyms
    few = labels.with_name("few.jsonl")
    few.write_text("".join(labels.read_text().splitlines(keepends=True)[:3]), encoding="utf-8")
    assert main(["fusion", "--labels", str(few), "--home", str(home)]) == 1
    assert "3 labelled questions" in capsys.readouterr().err
    assert main(["fusion", "--labels", str(labels), "--home", str(home), "--steps", "0"]) == 2
    assert "steps" in capsys.readouterr().err
    assert main(["fusion", "--labels", str(labels), "--layout", "novel", "--home", str(home)]) == 2
