"""Comparing two generations: what is asked, what is measured, what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexing.catalog import open_catalog
from indexing.errors import InputError
from indexing.ingest import add_texts
from indexing.migration.backfill import start
from indexing.migration.change import standing, switch
from indexing.session import Index
from retrieval import migration
from retrieval.comparison import Answers, Question, summarised
from tests.fakes.two_generations import NEW, Patched, corpus

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


def answers(*sentences: str, ms: float = 1.0, exact: float | None = 1.0) -> Answers:
    return Answers(sentences, tuple(dict.fromkeys(one[0] for one in sentences)), exact, ms)


def test_the_figures_by_hand() -> None:
    questions = [Question("one", "a"), Question("two", "b"), Question("three")]
    pairs = [
        (answers("a1", "b1", ms=1), answers("a1", "b1", ms=5)),
        (answers("b1", "c1", ms=2), answers("c1", "d1", ms=6, exact=0.5)),
        (answers("a1", ms=3), answers("d1", ms=7, exact=None)),
    ]
    made = summarised(questions, pairs, 2, "file", (1, 2))
    assert made.overlap == pytest.approx((1 + 0.5 + 0) / 3)
    assert made.kendall == 1.0  # of the one question with two shared
    assert (made.served.known_item, made.beside.known_item) == (1.0, 0.5)
    assert (made.served.exact_recall, made.beside.exact_recall) == (1.0, 0.75)
    assert (made.served.p50_ms, made.beside.p50_ms) == (2, 6)
    assert [text for text, _ in made.furthest] == ["three", "two", "one"]
    assert "furthest" not in made.stored()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with a complete migration, in the process-wide settings' home."""
    fakes = Patched(monkeypatch, "server")
    settings = fakes.settings(tmp_path)
    monkeypatch.setenv("WINNOW_COLLECTION__HOME", "server")
    monkeypatch.setenv("WINNOW_ENCODERS__DENSE", "old")
    with Index(settings, open_catalog(settings)) as index:
        add_texts(index, corpus(15))
        start(index, NEW)
        with pytest.raises(InputError, match="compared"):
            switch(index)
    return tmp_path


def run(home: Path, *arguments: str) -> int:
    return migration.exit_code_of(
        lambda: migration.app(["--home", str(home), *arguments], standalone_mode=False)
    )


def test_the_command_compares_stores_and_opens_the_way_to_a_switch(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "--sample", "6", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["questions"], shown["k"], shown["origin"]) == (6, 10, "documents, seed 1")
    # Words are the same on both sides and vectors are not.
    assert 0 < shown["overlap"] < 1
    assert shown["served"]["known_item"] == shown["beside"]["known_item"] == 1.0
    assert run(home, "--sample", "6") == 0
    printed = capsys.readouterr().out
    assert "generation 1 (served)" in printed or "overlap@10 of sentences" in printed
    fakes = Patched(monkeypatch, "file")  # the catalogue alone is looked at
    settings = fakes.settings(home)
    with Index(settings, open_catalog(settings)) as index:
        stored = standing(index).pair.beside.comparison
        assert stored["overlap"] == shown["overlap"]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("a river\n\nthe bank\n", {"a river", "the bank"}),
        ('{"query": "a river"}\n{"text": "the bank"}\n{"other": 1}\n{broken\n', {"a river", "the bank"}),
    ],
)
def test_questions_of_a_file(home: Path, tmp_path: Path, lines: str, wanted: set[str]) -> None:
    from indexing.settings import load_settings

    path = tmp_path / "questions"
    path.write_text(lines)
    questions, origin = migration.questions_of(load_settings(home=home), path, "default", 10, 1)
    assert ({one.text for one in questions}, origin) == (wanted, "file")


def test_questions_of_the_log_are_the_tenants_own(home: Path, tmp_path: Path) -> None:
    from indexing.settings import load_settings

    path = tmp_path / "log"
    rows = [{"tenant": "default", "query": "mine"}, {"tenant": "other", "query": "theirs"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = load_settings(home=home, serving={"query_log": path})
    questions, origin = migration.questions_of(settings, None, "default", 10, 1)
    assert ([one.text for one in questions], origin) == (["mine"], "query log")


def test_without_a_migration_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Patched(monkeypatch, "file").settings(tmp_path)
    with Index(settings, open_catalog(settings)) as index:
        add_texts(index, corpus(3))
    assert run(tmp_path) == 2
    assert "no migration is under way" in capsys.readouterr().err
