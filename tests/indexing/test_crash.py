"""SIGKILL at random times and at named points: the end is that of an uninterrupted run."""

from __future__ import annotations

import random
import shutil
import signal
import sys

import pytest

from benchmarks.crash import POINTS, Corpus
from benchmarks.index_state import catalog_rows, compare_points, compare_rows
from tests.fakes.forked import forked
from tests.fakes.index_parts import fake_index
from tests.fakes.killed_ingest import ingest, settings_for

ROUNDS = 30
SEED = 20261121


def end(process):
    process.join(60)
    if process.exitcode is None:
        process.kill()
        pytest.fail("an ingest process did not end")
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def difference(reference, found):
    with fake_index(settings_for(reference)) as one, fake_index(settings_for(found)) as other:
        result = compare_points(list(one.collection.points()), list(other.collection.points()))
    result.rows = compare_rows(catalog_rows(reference), catalog_rows(found))
    return result


def test_every_named_point(tmp_path):
    """From each state of a changing folder, one run dies at each point not tried yet, and one ends it."""
    corpus = Corpus(tmp_path / "corpus", SEED, 6)
    corpus.fill()
    reference, home = tmp_path / "reference", tmp_path / "killed"
    untried = set(POINTS)
    for step in range(6):
        before = tmp_path / f"before{step}"
        if reference.exists():
            shutil.copytree(reference, before)
        assert not end(forked(ingest, reference, tmp_path / "corpus", None, 0))
        for point in sorted(untried):
            shutil.rmtree(home, ignore_errors=True)
            if before.exists():
                shutil.copytree(before, home)
            if end(forked(ingest, home, tmp_path / "corpus", point, 1)):
                untried.discard(point)
                assert not end(forked(ingest, home, tmp_path / "corpus", None, 0))
            assert not difference(reference, home), point
        if not untried:
            return
        corpus.change()
    pytest.fail(f"never passed: {untried}")


def test_random_times(tmp_path):
    sys.stdout.write(f"seed {SEED}\n")
    chance = random.Random(SEED)
    corpus = Corpus(tmp_path / "corpus", SEED + 1, 15)
    corpus.fill()
    home, reference = tmp_path / "killed", tmp_path / "reference"
    kills = 0
    while kills < ROUNDS:
        assert not end(forked(ingest, reference, tmp_path / "corpus", None, 0))
        for _ in range(6):
            process = forked(ingest, home, tmp_path / "corpus", None, 0)
            process.join(chance.uniform(0.0, 0.25))
            if process.exitcode is None:
                process.kill()
            kills += end(process)
        assert not end(forked(ingest, home, tmp_path / "corpus", None, 0))
        assert not difference(reference, home)
        corpus.change()


def test_the_comparison_sees_a_lost_a_changed_and_a_surplus_point(tmp_path):
    """A comparison that cannot fail would make the tests above worthless."""
    corpus = Corpus(tmp_path / "corpus", SEED, 3)
    corpus.fill()
    assert not end(forked(ingest, tmp_path / "one", tmp_path / "corpus", None, 0))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with fake_index(settings_for(tmp_path / "two")) as index:
        ids = [point.id for point in index.collection.points()]
        index.collection._db.execute("DELETE FROM points WHERE id = ?", (ids[0],))
        index.collection._db.execute("UPDATE points SET sparse = '[[1],[1.0]]' WHERE id = ?", (ids[1],))
        index.collection._db.execute(
            "INSERT INTO points SELECT 'x' || id, tenant, doc_id, version, payload, dense, sparse "
            "FROM points WHERE id = ?",
            (ids[2],),
        )
        with index.catalog._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE documents SET title = 'x' WHERE doc_id LIKE 'lines%'")
    found = difference(tmp_path / "one", tmp_path / "two")
    assert (found.lost, found.different, found.surplus, found.duplicated) == (1, 1, 1, 1)
    assert [row.split(":")[0] for row in found.rows] == ["documents"]
