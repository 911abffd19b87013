"""Parsers in processes of their own: a file that hangs or crashes its parser costs nothing but itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexing.errors import ReadError
from indexing.ingest import add_paths
from indexing.ingest.pool import ReaderPool, ReadJob
from indexing.settings import IndexingSettings
from tests.fakes.index_parts import fake_index, fake_settings

BAD_READER = ("tests.fakes.index_parts", "read_badly")


def job(folder: Path, name: str, text: str) -> ReadJob:
    path = folder / name
    path.write_text(text)
    return ReadJob(str(path), path, "0" * 64, len(text), name)


def test_a_hang_a_crash_and_an_error_fail_their_files_only(tmp_path, capfd):
    jobs = [
        job(tmp_path, "a.txt", "Good one."),
        job(tmp_path, "b.txt", "CRASH"),
        job(tmp_path, "c.txt", "HANG"),
        job(tmp_path, "d.txt", "RAISE"),
        job(tmp_path, "e.txt", "Good last."),
    ]
    outcomes = {}
    with ReaderPool(IndexingSettings(read_timeout_s=1.5), BAD_READER) as pool:
        for read, documents in pool.read(jobs):
            try:
                outcomes[read.doc_id] = [document.blocks[0].text for document in documents]
            except ReadError as error:
                outcomes[read.doc_id] = str(error)
    assert list(outcomes) == ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"], "in the order asked"
    assert outcomes["a.txt"] == ["Good one."]
    assert outcomes["b.txt"] == "the parser crashed (SIGSEGV)"
    assert outcomes["c.txt"] == "the parser gave no answer within 1.5 s"
    assert outcomes["d.txt"] == "RuntimeError: bad table"
    assert outcomes["e.txt"] == ["Good last."]
    assert "parsers print" not in capfd.readouterr().out


def test_in_this_process_gives_the_same_documents(tmp_path):
    jobs = [job(tmp_path, f"{n}.txt", f"File {n}. Has two sentences.") for n in range(5)]
    found = []
    for workers in (0, 2):
        with ReaderPool(IndexingSettings(read_workers=workers), BAD_READER) as pool:
            found.append([list(documents) for _, documents in pool.read(jobs)])
    assert found[0] == found[1]
    assert [documents[0].doc_id for documents in found[0]] == [f"{n}.txt" for n in range(5)]


def test_failures_reach_the_report_and_are_tried_again(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("CRASH")
    (docs / "b.txt").write_text("Good.")
    settings = fake_settings(tmp_path / "home", read_timeout_s=10.0)
    index = fake_index(settings, reader=BAD_READER)
    report = add_paths(index, [docs])
    assert report.failures == [(str(docs / "a.txt"), "the parser crashed (SIGSEGV)")]
    assert report.documents == 1
    assert index.catalog.sources("default")[str(docs / "a.txt")].state == "failed"
    (docs / "a.txt").write_text("Mended.")
    assert add_paths(index, [docs]).failures == []
    assert index.catalog.count_documents("default") == 2
    index.close()


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    (tmp_path / "a.txt").write_text("HANG")
    code = (
        "from pathlib import Path\n"
        "from indexing.ingest.pool import ReaderPool, ReadJob\n"
        "from indexing.settings import IndexingSettings\n"
        "pool = ReaderPool(IndexingSettings(read_workers=1), ('tests.fakes.index_parts', 'read_badly'))\n"
        f"job = ReadJob('a', Path({str(tmp_path / 'a.txt')!r}), '0' * 64, 4, 'a')\n"
        "pool._workers[0].assign(job)\n"
        "print(pool._workers[0]._process.pid, flush=True)\n"
        "list(pool._workers[0].documents())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        worker = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and _is_running(worker):
        if time.monotonic() > deadline:
            os.kill(worker, 9)
            pytest.fail("the parser process outlived its parent")
        time.sleep(0.1)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_without_a_main_guard_can_index(tmp_path):
    """The parser process must not run the calling program a second time."""
    (tmp_path / "a.txt").write_text("One sentence here.", encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\n"
        "from tests.fakes.index_parts import fake_index, fake_settings\n"
        "from indexing.ingest import add_paths\n"
        f"with fake_index(fake_settings(Path({str(tmp_path / 'home')!r}), read_workers=1)) as index:\n"
        f"    report = add_paths(index, [Path({str(tmp_path / 'a.txt')!r})])\n"
        "print(report.documents, report.failures)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("1 []\n", 0), done.stderr
