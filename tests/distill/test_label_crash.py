"""SIGKILL during labelling: what was committed is never asked again."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from distill.labelling.export import write_labels
from distill.labelling.store import LabelStore, text_key
from distill.layouts import read_labels
from tests.fakes.forked import forked
from tests.fakes.label_teacher import candidates, card, run_and_exit, score_of

SEED = 20261122
CONCURRENCY, BATCH = 4, 3  # as in the fake's main
LISTS = candidates(12, 9)
PAIRS = {(one.query.text, passage.text) for one in LISTS for passage in one.passages}


def run_until(store: Path, journal: Path, kind: str, asked: int, wait_s: float = 0.0) -> int:
    """Run until so many pairs are in the journal and a moment more, then kill; returns the exit code."""
    process = forked(run_and_exit, store, journal, kind)
    deadline = time.monotonic() + 60
    while process.is_alive() and len(journal_lines(journal)) < asked and time.monotonic() < deadline:
        time.sleep(0.001)
    process.join(wait_s)
    if process.exitcode is None:
        process.kill()
    process.join(30)
    return process.exitcode


def journal_lines(journal: Path) -> list[tuple[str, str]]:
    if not journal.exists():
        return []
    return [tuple(line.split("\t")) for line in journal.read_text(encoding="utf-8").splitlines()]


def committed(path: Path, kind: str) -> set[tuple[str, str]]:
    """What the store knows, asked through the store itself."""
    with LabelStore(path) as store:
        teacher = store.register(card(kind))
        found = set()
        for one in LISTS:
            texts = [passage.text for passage in one.passages]
            if kind == "pointwise":
                known = store.scores(teacher, one.query.text)
            else:
                known = store.list_scores(teacher, one.query.text, texts) or {}
            found |= {(one.query.text, text) for text in texts if text_key(text) in known}
    return found


@pytest.mark.parametrize("kind", ["pointwise", "listwise"])
def test_committed_pairs_are_never_asked_again(tmp_path: Path, kind: str) -> None:
    sys.stdout.write(f"seed {SEED}\n")
    chance = random.Random(SEED)
    store, journal = tmp_path / "labels.db", tmp_path / "asked.tsv"
    in_flight = CONCURRENCY * (BATCH if kind == "pointwise" else 9)
    kills = repeated = 0
    for _ in range(40):
        before, seen = committed(store, kind), len(journal_lines(journal))
        until = seen + chance.randint(1, 20) if kills < 8 else 10**6
        code = run_until(store, journal, kind, until, chance.uniform(0, 0.015))
        kills += code == -signal.SIGKILL
        asked = journal_lines(journal)[seen:]
        assert not set(asked) & before, "a committed pair was asked again"
        assert len(asked) == len(set(asked)), "one run asked a pair twice"
        lost = set(asked) - committed(store, kind)
        assert len(lost) <= in_flight
        repeated += len(lost)
        if code == 0:
            break
    asked = Counter(journal_lines(journal))
    assert kills >= 3
    assert repeated, "no kill met a call on its way: the test proved nothing"
    assert set(asked) == PAIRS == committed(store, kind)
    # Each pair once, and once more for each kill that met it on its way.
    assert sum(asked.values()) == len(PAIRS) + repeated
    check_export(store, tmp_path, kind)


def check_export(path: Path, folder: Path, kind: str) -> None:
    with LabelStore(path) as store:
        write_labels(folder / "labels.jsonl", LISTS, store, store.register(card(kind)))
    for one in read_labels(folder / "labels.jsonl", "labels"):
        true = [score_of(one.query.text, passage.text) for passage in one.passages]
        if kind == "pointwise":
            assert list(one.scores) == true
        else:
            assert sorted(true) == [score for _, score in sorted(zip(one.scores, true, strict=True))]


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    """A killed run leaves its lock file; the next run must not wait for a corpse."""
    store, journal = tmp_path / "labels.db", tmp_path / "asked.tsv"
    assert run_until(store, journal, "pointwise", asked=1) == -signal.SIGKILL
    assert (tmp_path / "labels.db.lock").exists()
    assert run_until(store, journal, "pointwise", asked=10**6) == 0
    assert committed(store, "pointwise") == PAIRS
