"""The opt-in query log: off by default, one line a search, rotated, never in the way."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from pathlib import Path

import pytest

from indexing.errors import SettingsError
from indexing.settings import load_settings
from retrieval.records import Receipt, SearchRequest, SearchResponse
from serving import line_log
from serving.query_log import QueryLog
from tests.fakes.service import Harness, client_of

pytestmark = pytest.mark.anyio

NOTHING = SearchResponse((), Receipt(()))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def test_it_is_off_by_default(harness: Harness) -> None:
    assert load_settings().serving.query_log is None
    async with client_of(harness) as client:
        assert (await client.post("/v1/search", json={"query": "file"})).status_code == 200
    assert not list(harness.settings.home.rglob("*.jsonl"))


async def test_each_search_and_question_is_one_line(harness: Harness, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "queries.jsonl"
    harness.service.query_log = QueryLog(path, "hybrid")
    async with client_of(harness) as client:
        found = (await client.post("/v1/search", json={"query": "打开 file"})).json()
        await client.post("/v1/query", json={"query": "close the file", "mode": "sparse"})
        await client.post("/v1/search", json={"query": "  "})  # refused: nothing was searched
    await harness.service.query_log.close()
    first, second = lines(path)
    assert list(first) == ["time", "tenant", "query", "mode", "results"]
    assert (first["tenant"], first["query"], first["mode"]) == ("default", "打开 file", "hybrid")
    assert first["results"] == [result["id"] for result in found["results"]]
    assert (second["query"], second["mode"]) == ("close the file", "sparse")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_line_break_in_a_question_stays_inside_its_line(tmp_path: Path) -> None:
    log = QueryLog(tmp_path / "q.jsonl", "hybrid")
    log.record(SearchRequest("one\ntwo %s {}", tenant="a"), NOTHING)
    await log.close()
    assert [line["query"] for line in lines(tmp_path / "q.jsonl")] == ["one\ntwo %s {}"]


async def test_rotation_bounds_the_size_and_appending_survives_a_restart(tmp_path: Path) -> None:
    for start in (0, 50):
        log = QueryLog(tmp_path / "q.jsonl", "hybrid", max_bytes=1000)
        for number in range(start, start + 50):
            log.record(SearchRequest(f"question {number}"), NOTHING)
        await log.close()
    files = sorted(tmp_path.iterdir())  # noqa: ASYNC240
    assert [file.name for file in files] == ["q.jsonl", *(f"q.jsonl.{i}" for i in range(1, 5))]
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = [line["query"] for file in reversed(files) for line in lines(file)]
    assert kept == [f"question {number}" for number in range(100 - len(kept), 100)]


async def test_a_disk_that_hangs_costs_lines_and_not_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_log, "_WAITING", 5)
    log = QueryLog(tmp_path / "q.jsonl", "hybrid")
    taken, released = threading.Event(), threading.Event()
    emit = log._file.emit

    def hang(record: object) -> None:
        taken.set()
        released.wait(10)
        emit(record)

    monkeypatch.setattr(log._file, "emit", hang)
    try:
        log.record(SearchRequest("question 0"), NOTHING)
        assert await asyncio.to_thread(taken.wait, 10)
        for number in range(1, 11):
            log.record(SearchRequest(f"question {number}"), NOTHING)  # would hang here if it waited
    finally:
        released.set()
    await log.close()
    assert log.dropped == 5
    assert len(lines(tmp_path / "q.jsonl")) == 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's always full device")
async def test_a_failing_disk_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = QueryLog(Path("/dev/full"), "hybrid")
    for _ in range(3):
        log.record(SearchRequest("a question"), NOTHING)
    await log.close()
    assert log.dropped == 3
    assert sum("query_log_failed" in record.getMessage() for record in caplog.records) == 1
    assert "a question" not in caplog.text


def test_a_path_that_cannot_be_written_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match=r"serving\.query_log"):
        QueryLog(tmp_path / "file" / "q.jsonl", "hybrid")
