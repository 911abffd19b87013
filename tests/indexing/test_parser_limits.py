"""What a parser process may not do, whatever file took it over: each ends in an error of its own kind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexing.errors import ParserCrashError, ReadError, ReadLimitError
from indexing.ingest import add_paths
from indexing.ingest.pool import ReaderPool, ReadJob
from indexing.settings import IndexingSettings
from tests.fakes.index_parts import fake_index, fake_settings

READER = ("tests.fakes.bad_parsers", "read")
ROOT = Path(__file__).parents[2]


def outcomes(folder: Path, *texts: str, **limits: object) -> list[object]:
    """What becomes of files with these texts, one after the other in one parser: text or error."""
    jobs = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.txt"
        path.write_text(text)
        jobs.append(ReadJob(str(path), path, "0" * 64, len(text), path.name))
    found: list[object] = []
    settings = IndexingSettings.model_validate({"read_workers": 1, "read_timeout_s": 60.0} | limits)
    with ReaderPool(settings, READER) as pool:
        for _, documents in pool.read(jobs):
            try:
                found.append("".join(block.text for document in documents for block in document.blocks))
            except ReadError as error:
                found.append(error)
    return found


def test_memory_and_processor_time_end_in_a_limit_and_the_next_file_is_read(tmp_path: Path) -> None:
    hungry, after, busy, last = outcomes(
        tmp_path, "HUNGRY", "fine", "BUSY", "fine", parser_memory_mb=400, parser_cpu_s=1
    )
    assert isinstance(hungry, ReadLimitError)
    assert "parser_memory_mb" in str(hungry)
    assert isinstance(busy, ReadLimitError)
    assert str(busy) == "reading it takes more than 1 s of processor time"
    assert (after, last) == ("fine", "fine")


def test_a_parser_that_hangs_with_the_lock_held_is_ended_in_time(tmp_path: Path) -> None:
    stuck, after = outcomes(tmp_path, "STUCK", "fine", read_timeout_s=3.0)
    assert isinstance(stuck, ReadLimitError)
    assert after == "fine"


def test_a_parser_cannot_write_connect_or_start_a_program(tmp_path: Path) -> None:
    written, started = tmp_path / "written", tmp_path / "started"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        found = outcomes(tmp_path, f"WRITE {written}", f"CONNECT {port}", f"START {started}", "fine")
        with pytest.raises(TimeoutError):
            server.accept()
    assert [type(error) for error in found[:3]] == [ReadError] * 3
    assert "File too large" in str(found[0])
    assert "socket.connect" in str(found[1]) or "getaddrinfo" in str(found[1])
    assert "subprocess.Popen" in str(found[2])
    assert not written.exists() or written.read_bytes() == b""
    assert not started.exists()
    assert found[3] == "fine"


def test_a_parser_does_not_see_the_secrets_of_its_parent(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WINNOW_GENERATION__API_KEY", "sk-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (said,) = outcomes(tmp_path, "SAY WINNOW_GENERATION__API_KEY AWS_SECRET_ACCESS_KEY PATH")
    assert "secret" not in str(said)
    assert os.environ["PATH"] in str(said)


@pytest.mark.parametrize("word", ["PICKLED", "HUGE", "HALF", "OTHER", "FORGED", "FLOOD"])
def test_what_is_no_document_is_an_error_and_never_runs(tmp_path: Path, word: str) -> None:
    canary = tmp_path / "canary"
    limit_s = 4.0 if word == "HALF" else 60.0
    harm, after = outcomes(tmp_path, f"{word} {canary}", "fine", read_timeout_s=limit_s)
    assert isinstance(harm, ParserCrashError | ReadLimitError)
    assert after == "fine"
    assert not canary.exists()


def test_a_parser_is_replaced_after_so_many_files(tmp_path: Path) -> None:
    pids = outcomes(tmp_path, *["PID"] * 5, parser_files=2)
    assert len(set(pids)) == 3
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_a_stuck_parser_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("STUCK")
    code = (
        "from pathlib import Path\n"
        "from indexing.ingest.pool import ReaderPool, ReadJob\n"
        "from indexing.settings import IndexingSettings\n"
        f"pool = ReaderPool(IndexingSettings(read_workers=1), {READER!r})\n"
        f"pool._workers[0].assign(ReadJob('a', Path({str(path)!r}), '0' * 64, 4, 'a'))\n"
        "pool._workers[0]._await_start(pool._workers[0]._frames)\n"
        "print(pool._workers[0]._process.pid, flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        worker = int(parent.stdout.readline())
        time.sleep(0.5)  # it is in the call that keeps the lock
    finally:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
    deadline = time.monotonic() + 60
    while _is_running(worker):
        if time.monotonic() > deadline:
            os.kill(worker, 9)
            pytest.fail("the parser process outlived its parent")
        time.sleep(0.05)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_pipes_devices_and_huge_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    pipe, huge = tmp_path / "pipe.txt", tmp_path / "huge.txt"
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(10**12)  # a terabyte of nothing: reading it would take an hour
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    paths = [pipe, huge, tmp_path / "zero.txt"]
    with fake_index(fake_settings(tmp_path / "home")) as index:
        report = add_paths(index, paths)
    assert report.kinds == {str(pipe): "read", str(huge): "read-limit", str(tmp_path / "zero.txt"): "read"}
    assert report.documents == 0


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    docs, outside = tmp_path / "docs", tmp_path / "outside"
    docs.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("Secret.")
    (docs / "a.txt").write_text("Inside.")
    (docs / "link.txt").symlink_to(docs / "a.txt")
    (docs / "out.txt").symlink_to(outside / "secret.txt")
    (docs / "up.txt").symlink_to("../outside/secret.txt")
    (docs / "folder").symlink_to(outside)
    (docs / "chain.txt").symlink_to(docs / "out.txt")
    (tmp_path / "docs-near").mkdir()
    (tmp_path / "docs-near" / "b.txt").write_text("A name that begins the same.")
    (docs / "near").symlink_to(tmp_path / "docs-near")
    with fake_index(fake_settings(tmp_path / "home")) as index:
        report = add_paths(index, [docs])
        assert report.skipped["link that leads outside"] == 5
        assert sorted(index.catalog.sources("default")) == [str(docs / "a.txt"), str(docs / "link.txt")]
        assert report.failures == []
    with fake_index(fake_settings(tmp_path / "other", outside_links=True)) as index:
        assert add_paths(index, [docs]).skipped.get("link that leads outside") is None
        assert index.catalog.count_documents("default") == 3
    # A folder that is itself named by a link is inside itself.
    (tmp_path / "named").symlink_to(docs)
    with fake_index(fake_settings(tmp_path / "third")) as index:
        assert len(add_paths(index, [tmp_path / "named"]).failures) == 0
        assert index.catalog.count_documents("default") == 1
