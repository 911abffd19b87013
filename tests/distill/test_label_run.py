"""The labelling run: each pair once, bounded, patient, and honest about what failed."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import anyio
import pytest

from distill.errors import GoldenGateError, TeacherAnswerError, TeacherRefusedError, TeacherUnavailableError
from distill.golden import GoldenReport
from distill.labelling import runner
from distill.labelling.export import read_cards, write_labels
from distill.labelling.patience import _Wait
from distill.labelling.progress import TerminalProgress
from distill.labelling.runner import LabelReport, label
from distill.labelling.settings import LabelSettings
from distill.labelling.store import LabelStore
from distill.layouts import read_labels
from distill.records import CandidateList, Passage, Query
from distill.teachers.protocol import TeacherAnswer
from tests.fakes.label_teacher import FakeTeacher, candidates, score_of

QUICK = {"first_wait_s": 0.001, "longest_wait_s": 0.002}


@pytest.fixture
def store(tmp_path: Path):
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


def run(lists, teacher, store, progress=None, **settings) -> LabelReport:
    return anyio.run(label, lists, teacher, store, LabelSettings(**{**QUICK, **settings}), progress)


def test_every_pair_is_asked_once_and_a_second_run_asks_nothing(store: LabelStore) -> None:
    lists = candidates(7, 10)
    teacher = FakeTeacher()
    first = run(lists, teacher, store, batch=4, concurrency=3)
    assert sorted(teacher.asked) == sorted((one.query.text, p.text) for one in lists for p in one.passages)
    assert (first.queries, first.pairs, first.known, first.labelled, first.calls) == (7, 70, 0, 70, 21)
    again = FakeTeacher()
    second = run(lists, again, store)
    assert (again.asked, second.known, second.labelled, second.complete) == ([], 70, 0, True)


def test_the_same_texts_under_other_ids_are_not_asked_again(store: LabelStore) -> None:
    query = Query("one", "question")
    lists = [
        CandidateList(query, (Passage("a", "same"), Passage("b", "same"), Passage("c", "other"))),
        CandidateList(Query("two", "question"), (Passage("d", "other"), Passage("e", "new"))),
    ]
    teacher = FakeTeacher()
    run(lists, teacher, store)
    assert teacher.calls == [("one", 3)]
    assert sorted(text for _, text in teacher.asked) == ["new", "other", "same"]


def test_only_what_is_missing_is_asked(store: LabelStore) -> None:
    run(candidates(2, 3), FakeTeacher(), store)
    teacher = FakeTeacher()
    report = run(candidates(3, 5), teacher, store)
    assert (report.known, report.labelled, len(teacher.asked)) == (6, 9, 9)


def test_a_listwise_teacher_gets_whole_lists(store: LabelStore) -> None:
    lists = candidates(3, 40)
    turned = [CandidateList(one.query, one.passages[::-1]) for one in lists]
    teacher = FakeTeacher(kind="listwise")
    report = run([*lists, *turned], teacher, store, batch=5)
    assert sorted(teacher.calls) == [("q0", 40), ("q1", 40), ("q2", 40)]
    assert (report.pairs, report.labelled) == (120, 120)
    assert run(turned, FakeTeacher(kind="listwise"), store).labelled == 0
    lone = [CandidateList(Query("q", "alone"), (Passage("a", "x"),))]
    assert run(lone, FakeTeacher(kind="listwise"), store).pairs == 0


@pytest.mark.parametrize("bound", [1, 4])
def test_concurrency_is_bounded_and_used(store: LabelStore, bound: int) -> None:
    teacher = FakeTeacher(delay_s=0.01)
    run(candidates(12, 2), teacher, store, concurrency=bound)
    assert teacher.most_running == bound


def test_an_unavailable_teacher_is_asked_again(store: LabelStore) -> None:
    def twice(query: Query, attempt: int) -> Exception | None:
        return TeacherUnavailableError("busy") if attempt <= 2 else None

    report = run(candidates(3, 2), FakeTeacher(fault=twice), store, attempts=3)
    assert report.complete
    assert report.labelled == 6


def test_retry_after_is_respected_and_waits_double() -> None:
    class State:
        attempt_number = 1

        class outcome:
            error: Exception = TeacherUnavailableError("busy", retry_after_s=7.5)

            @classmethod
            def exception(cls) -> Exception:
                return cls.error

    wait = _Wait(0.5, 60.0)
    assert wait(State) == 7.5
    State.outcome.error = TeacherUnavailableError("busy")
    waits = []
    for State.attempt_number in range(1, 12):
        waits.append(wait(State))
    for doubled, found in zip([0.5 * 2**n for n in range(7)], waits, strict=False):
        assert doubled <= found <= doubled + 0.5
    assert waits[-1] == 60.0


def test_a_failing_query_does_not_stop_the_others(store: LabelStore) -> None:
    def broken(query: Query, attempt: int) -> Exception | None:
        return TeacherRefusedError("too long") if query.query_id == "q2" else None

    teacher = FakeTeacher(fault=broken)
    report = run(candidates(6, 3), teacher, store)
    assert report.failed == [("q2", "too long")]
    assert (report.labelled, report.complete) == (15, False)
    assert teacher._attempts["question 2"] == 1  # a refusal is not repeated
    healed = run(candidates(6, 3), FakeTeacher(), store)
    assert (healed.known, healed.labelled, healed.complete) == (15, 3, True)


def test_a_teacher_that_is_down_is_given_up(store: LabelStore) -> None:
    teacher = FakeTeacher(fault=lambda query, attempt: TeacherUnavailableError("nobody there"))
    report = run(candidates(50, 2), teacher, store, attempts=2, give_up_after=5, concurrency=1)
    assert (len(report.failed), report.unasked, sum(teacher._attempts.values())) == (5, 45, 10)


@pytest.mark.parametrize("scores", [(0.5,), (0.5, float("nan"))])
def test_what_is_no_label_is_not_stored(store: LabelStore, scores: tuple[float, ...]) -> None:
    class Odd(FakeTeacher):
        async def score(self, query, passages):
            return TeacherAnswer(scores, "logit")

    report = run(candidates(1, 2), Odd(), store)
    assert [query for query, _ in report.failed] == ["q0"]
    assert store.scores(1, "question 0") == {}


def test_a_defect_ends_the_run(store: LabelStore) -> None:
    def defect(query: Query, attempt: int) -> Exception | None:
        return ZeroDivisionError() if query.query_id == "q3" else None

    with pytest.raises(BaseExceptionGroup):
        run(candidates(6, 3), FakeTeacher(fault=defect), store, concurrency=1)
    assert len(store.scores(1, "question 2")) == 3


async def passing(teacher, bounds) -> GoldenReport:
    teacher.gates = getattr(teacher, "gates", 0) + 1
    return GoldenReport(teacher.card.id, ())


async def failing(teacher, bounds) -> GoldenReport:
    raise GoldenGateError("yes and no are swapped")


def test_the_golden_gate_stands_before_the_first_label(store, monkeypatch) -> None:
    monkeypatch.setattr(runner, "check_teacher", failing)
    teacher = FakeTeacher(method="score")
    with pytest.raises(GoldenGateError, match="swapped"):
        run(candidates(2, 2), teacher, store)
    assert teacher.asked == []
    assert store.golden_at(1) is None


def test_the_gate_is_passed_once_per_teacher_and_store(store, monkeypatch) -> None:
    monkeypatch.setattr(runner, "check_teacher", passing)
    teacher = FakeTeacher(method="score")
    run(candidates(2, 2), teacher, store)
    run(candidates(3, 2), teacher, store)
    assert teacher.gates == 1
    assert store.golden_at(1) is not None
    run(candidates(3, 2), teacher, store, recheck=True)
    assert teacher.gates == 2
    other = FakeTeacher(method="score", model="other")
    run(candidates(2, 2), other, store)
    assert other.gates == 1


def test_a_skipped_gate_is_on_the_card(store, monkeypatch, caplog) -> None:
    monkeypatch.setattr(runner, "check_teacher", failing)
    with caplog.at_level(logging.WARNING):
        run(candidates(1, 2), FakeTeacher(method="score"), store, skip_golden=True)
    assert store.card(1).golden == "skipped"
    assert "golden_skipped" in caplog.text


def test_cost_counts_cached_tokens_at_their_own_price(store: LabelStore) -> None:
    report = run(
        candidates(2, 5), FakeTeacher(), store, price_prompt=2.0, price_cached=0.5, price_completion=10.0
    )
    assert (report.prompt_tokens, report.cached_tokens, report.completion_tokens) == (100, 50, 10)
    assert report.cost == pytest.approx((50 * 2.0 + 50 * 0.5 + 10 * 10.0) / 1000)
    assert LabelSettings(price_prompt=2.0).cost(100, 50, 0) == pytest.approx(0.2)


def test_the_export_is_a_labels_file_with_the_card(store: LabelStore, tmp_path: Path) -> None:
    lists = candidates(4, 3)[::-1]
    teacher = FakeTeacher()
    run(lists, teacher, store, concurrency=3)
    assert write_labels(tmp_path / "out.jsonl.gz", lists, store, 1) == (4, 12)
    found = read_labels(tmp_path / "out.jsonl.gz", "labels")
    assert [one.query.query_id for one in found] == ["q3", "q2", "q1", "q0"]
    for one, asked in zip(found, lists, strict=True):
        assert one.passages == asked.passages
        assert one.scores == tuple(score_of(one.query.text, passage.text) for passage in one.passages)
    assert read_cards(tmp_path / "out.jsonl.gz") == {teacher.card.id: store.card(1)}
    write_labels(tmp_path / "again.jsonl.gz", lists, store, 1)
    assert (tmp_path / "again.jsonl.gz").read_bytes() == (tmp_path / "out.jsonl.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.jsonl.gz", "out.teacher.json"]


def test_the_export_leaves_out_what_has_no_label(store: LabelStore, tmp_path: Path) -> None:
    run(candidates(2, 2), FakeTeacher(), store)
    write_labels(tmp_path / "out.jsonl", candidates(3, 4), store, 1)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["query_id"], len(row["passages"])) for row in rows] == [("q0", 2), ("q1", 2)]
    assert ["card" in row for row in rows] == [True, False]


def test_joined_files_keep_both_cards(store: LabelStore, tmp_path: Path) -> None:
    for number, model in enumerate(("one", "two"), start=1):
        run(candidates(1, 2), FakeTeacher(model=model), store)
        write_labels(tmp_path / f"{model}.jsonl.gz", candidates(1, 2), store, number)
    joined = tmp_path / "joined.jsonl.gz"
    joined.write_bytes(b"".join((tmp_path / f"{one}.jsonl.gz").read_bytes() for one in ("one", "two")))
    assert {card.model for card in read_cards(joined).values()} == {"one", "two"}
    assert len(gzip.decompress(joined.read_bytes()).splitlines()) == 2


def test_progress_says_rate_cost_failures_and_time_left(store: LabelStore) -> None:
    def broken(query: Query, attempt: int) -> Exception | None:
        return TeacherAnswerError("no") if query.query_id == "q1" else None

    with TerminalProgress() as progress:
        run(candidates(4, 5), FakeTeacher(fault=broken), store, progress, price_prompt=1.0)
        line = progress.line()
    assert line.startswith("labels 15/20, ")
    assert " pairs/s, cost 0.15, 5 failed, 0:00:00 left" in line
