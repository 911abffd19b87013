"""The label store: keys are texts and teachers, commits are durable, refusals are ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from distill.errors import LabelStoreError
from distill.labelling.lock import teacher_lock
from distill.labelling.store import LabelStore, list_key, text_key
from distill.teachers.protocol import TeacherAnswer
from tests.fakes.label_teacher import card

ANSWER = TeacherAnswer((0.5, -1.25), "logit", prompt_tokens=20, cached_tokens=8, calls=2, repairs=1)


@pytest.fixture
def store(tmp_path: Path):
    with LabelStore(tmp_path / "deep" / "labels.db") as opened:
        yield opened


def test_a_score_is_found_by_the_texts(store: LabelStore) -> None:
    teacher = store.register(card())
    store.add_pairs(teacher, "q", ["a", "打开"], ANSWER, 0.5)
    assert store.scores(teacher, "q") == {text_key("a"): 0.5, text_key("打开"): -1.25}
    assert store.scores(teacher, "Q") == {}


def test_another_prompt_or_model_is_another_teacher(store: LabelStore) -> None:
    cards = [card(), card(prompt="other {query} {passage}"), card(model="other")]
    keys = [store.register(one) for one in cards]
    assert len(set(keys)) == 3
    assert keys == [store.register(one) for one in cards]
    store.add_pairs(keys[0], "q", ["a", "b"], ANSWER, 0.5)
    assert [len(store.scores(key, "q")) for key in keys] == [2, 0, 0]


def test_the_first_score_stays_and_every_cost_counts(store: LabelStore) -> None:
    teacher = store.register(card())
    store.add_pairs(teacher, "q", ["a", "b"], ANSWER, 0.5)
    store.add_pairs(teacher, "q", ["b", "c"], TeacherAnswer((9.0, 3.0), "logit", calls=1), 0.25)
    assert store.scores(teacher, "q") == {text_key("a"): 0.5, text_key("b"): -1.25, text_key("c"): 3.0}
    spent = store.spent(teacher)
    assert (spent.answers, spent.passages, spent.calls, spent.seconds) == (2, 4, 3, 0.75)
    assert (spent.prompt_tokens, spent.cached_tokens, spent.repairs) == (20, 8, 1)


def test_a_ranking_belongs_to_the_set_of_its_passages(store: LabelStore) -> None:
    teacher = store.register(card("listwise"))
    answer = TeacherAnswer((-2.0, -1.0, -3.0), "rank", calls=1)
    store.add_list(teacher, "q", ["b", "a", "c"], answer, 0.5)
    expected = {text_key("b"): -2.0, text_key("a"): -1.0, text_key("c"): -3.0}
    assert store.list_scores(teacher, "q", ["a", "b", "c"]) == expected
    assert store.list_scores(teacher, "q", ["a", "b"]) is None
    assert list_key(["a", "b"]) == list_key(["b", "a"]) != list_key(["ab"])


def test_the_card_stays_as_first_stored_and_remembers_the_gate(store: LabelStore) -> None:
    first = card().model_copy(update={"date": "2024-01-02"})
    teacher = store.register(first)
    store.register(card().model_copy(update={"date": "2024-03-04"}))
    assert store.card(teacher) == first
    assert store.golden_at(teacher) is None
    store.set_golden(teacher, first.with_golden("skipped"), {})
    assert (store.golden_at(teacher), store.card(teacher).golden) == (None, "skipped")
    store.set_golden(teacher, first.with_golden("passed"), {"checks": 3})
    assert store.golden_at(teacher) is not None
    assert store.card(teacher) == first.with_golden("passed")


def test_labels_survive_closing(tmp_path: Path) -> None:
    with LabelStore(tmp_path / "labels.db") as one:
        teacher = one.register(card())
        one.add_pairs(teacher, "q", ["a", "b"], ANSWER, 0.5)
    with LabelStore(tmp_path / "labels.db") as two:
        assert two.register(card()) == teacher
        assert len(two.scores(teacher, "q")) == 2


def test_a_commit_reaches_the_disk(store: LabelStore) -> None:
    with store._engine.connect() as connection:
        modes = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    assert modes == ["wal", 2]


def test_a_newer_or_foreign_file_is_refused(tmp_path: Path) -> None:
    LabelStore(tmp_path / "labels.db").close()
    with sqlite3.connect(tmp_path / "labels.db") as db:
        db.execute("UPDATE meta SET value = '99'")
    with pytest.raises(LabelStoreError, match="newer Winnow"):
        LabelStore(tmp_path / "labels.db")
    (tmp_path / "text.db").write_text("not a database " * 100)
    with pytest.raises(LabelStoreError, match="does not open"):
        LabelStore(tmp_path / "text.db")


def test_a_full_disk_is_an_error_of_ours(store: LabelStore) -> None:
    teacher = store.register(card())
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        # The pool hands this same connection out again.

    def fill() -> None:
        for number in range(2000):
            store.add_pairs(teacher, f"q{number}", ["a", "b"], ANSWER, 0.5)

    with pytest.raises(LabelStoreError, match="full"):
        fill()


def test_one_process_per_teacher(tmp_path: Path) -> None:
    """Record locks are a process's: the second holder has to be another one."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from distill.labelling.lock import teacher_lock\n"
        "with teacher_lock(Path(sys.argv[1]), int(sys.argv[2]), 'fake'): print('got it')"
    )

    def other(teacher: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, str(tmp_path / "labels.db"), str(teacher)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    with teacher_lock(tmp_path / "labels.db", 1, "fake"):
        assert "another process is labelling with fake" in other(1).stderr
        assert other(2).stdout == "got it\n"
    assert other(1).stdout == "got it\n"


def test_what_a_model_wrote_is_kept(store: LabelStore) -> None:
    assert store.generated("model", "prompt", "passage") is None
    store.add_generated("model", "prompt", "passage", "one\ntwo")
    store.add_generated("model", "prompt", "passage", "three")
    assert store.generated("model", "prompt", "passage") == "one\ntwo"
    assert store.generated("model", "another prompt", "passage") is None
