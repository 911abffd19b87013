"""The catalogue is read ahead of the searches, through the database, and stops when it is told to."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from indexing.catalog import Catalog, open_catalog
from indexing.catalog import read_ahead as module
from indexing.catalog.engine import open_engine
from indexing.catalog.read_ahead import ReadAhead
from indexing.identity import point_id
from tests.fakes.index_parts import fake_settings
from tests.indexing.test_catalog import prepared, store

TEXTS = {f"d{number}": "\n".join(f"Line {line} of {number}." for line in range(40)) for number in range(30)}


@pytest.fixture
def stored(tmp_path: Path):
    catalog = open_catalog(fake_settings(tmp_path))
    versions = {name: store(catalog, prepared(text, name), f"file:{name}") for name, text in TEXTS.items()}
    yield catalog, versions
    catalog.close()


def a_point(versions: dict[str, str]) -> str:
    return point_id("default", "d3", versions["d3"], 7)


def test_the_first_windows_start_it_and_it_reads_every_text(stored, caplog) -> None:
    catalog, versions = stored
    caplog.set_level(logging.DEBUG, logger="indexing.catalog.read_ahead")
    assert catalog._read_ahead is None, "nothing but searches needs it"
    (window,) = catalog.windows("default", [a_point(versions)], 1)
    assert window.sentence == "Line 7 of 3."
    started = catalog._read_ahead
    started.wait(30)
    assert started.read >= sum(map(len, TEXTS.values()))
    assert "was not read ahead" not in caplog.text, "every scan names indexes that are there"
    catalog.windows("default", [a_point(versions)], 1)
    assert catalog._read_ahead is started


def test_it_reads_no_more_than_its_budget(stored, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, _ = stored
    monkeypatch.setattr(module, "_ROWS", 5)
    short = ReadAhead(catalog.engine, budget=1000)
    short.wait(30)
    assert 1000 <= short.read <= 1000 + 5 * max(map(len, TEXTS.values()))


def test_closing_ends_a_scan_that_has_not_ended(stored, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, versions = stored
    monkeypatch.setattr(module, "_ROWS", 1)
    monkeypatch.setattr(module, "_SCANS", (_ENDLESS,))
    catalog.windows("default", [a_point(versions)], 1)
    running = catalog._read_ahead
    assert running._thread.is_alive()
    catalog.close()
    assert not running._thread.is_alive()


# A row at a time for ever: only the budget or a stop ends it.
_ENDLESS = "WITH RECURSIVE again(n) AS (SELECT 0 UNION ALL SELECT 0 FROM again) SELECT n FROM again"


def test_a_catalogue_that_cannot_be_read_is_passed_over(tmp_path: Path, caplog) -> None:
    engine = open_engine("", tmp_path)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE blocks")
    caplog.set_level(logging.DEBUG, logger="indexing.catalog.read_ahead")
    failing = ReadAhead(engine)
    failing.wait(30)
    assert failing.read == 0
    assert "was not read ahead: no such table: blocks" in caplog.text
    engine.dispose()


def test_the_connection_used_last_is_used_next(tmp_path: Path) -> None:
    """Each has a cache of its own; the one that read ahead should serve."""
    catalog: Catalog = open_catalog(fake_settings(tmp_path))
    first, second = catalog.engine.raw_connection(), catalog.engine.raw_connection()
    last = second.driver_connection
    first.close()
    second.close()
    again = catalog.engine.raw_connection()
    assert again.driver_connection is last
    again.close()
    catalog.close()
