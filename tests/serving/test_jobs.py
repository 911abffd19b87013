"""The ingest process is started, restarted, and stopped with the service."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.jobs import JobRunner
from serving.metrics import Metrics

pytestmark = pytest.mark.anyio
PATIENCE_S = 20.0

# Each run takes one job (a line of queue.txt) and appends it to done.txt.
TAKE_ONE = """
import pathlib, sys
home = pathlib.Path(sys.argv[1])
jobs = (home / "queue.txt").read_text().splitlines()
with (home / "runs.txt").open("a") as runs:
    runs.write("run\\n")
if (home / "crash").exists():
    (home / "crash").unlink()
    sys.stderr.write("no luck\\n")
    sys.exit(3)
with (home / "done.txt").open("a") as done:
    done.writelines(job + "\\n" for job in jobs)
(home / "queue.txt").write_text("")
"""
SLEEP = """
import os, pathlib, sys, time
home = pathlib.Path(sys.argv[1])
(home / "pid").write_text(str(os.getpid()))
(home / "started").touch()
time.sleep(600)
"""
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP


def runner_on(home: Path, script: str) -> JobRunner:
    async def unfinished() -> bool:
        return bool((home / "queue.txt").read_text())

    return JobRunner(
        [sys.executable, "-c", script, str(home)],
        unfinished,
        Metrics(),
        poll_s=0.05,
        first_pause_s=0.01,
        stop_grace_s=0.3,
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_jobs_of_an_earlier_run_go_on_at_start(tmp_path: Path) -> None:
    (tmp_path / "queue.txt").write_text("a\n")
    runner = runner_on(tmp_path, TAKE_ONE)
    runner.start()
    await until(lambda: lines(tmp_path / "done.txt") == ["a"])
    await runner.close()


async def test_without_jobs_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "queue.txt").write_text("")
    runner = runner_on(tmp_path, TAKE_ONE)
    runner.start()
    await asyncio.sleep(0.2)
    assert not (tmp_path / "runs.txt").exists()
    (tmp_path / "queue.txt").write_text("b\n")
    runner.wake()
    await until(lambda: lines(tmp_path / "done.txt") == ["b"])
    await runner.close()


async def test_a_dead_process_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "queue.txt").write_text("a\n")
    (tmp_path / "crash").touch()
    runner = runner_on(tmp_path, TAKE_ONE)
    runner.start()
    await until(lambda: lines(tmp_path / "done.txt") == ["a"])
    assert len(lines(tmp_path / "runs.txt")) == 2
    assert any("code=3" in message and "no luck" in message for message in caplog.messages)
    await runner.close()


async def test_sigkill_does_not_end_the_watch(tmp_path: Path) -> None:
    (tmp_path / "queue.txt").write_text("a\n")
    runner = runner_on(tmp_path, SLEEP)
    runner.start()
    await until((tmp_path / "started").exists)
    first = int((tmp_path / "pid").read_text())
    (tmp_path / "started").unlink()
    os.kill(first, signal.SIGKILL)
    await until((tmp_path / "started").exists)
    assert int((tmp_path / "pid").read_text()) != first
    await runner.close()


@pytest.mark.parametrize("script", [SLEEP, DEAF])
async def test_close_ends_the_process(tmp_path: Path, script: str) -> None:
    (tmp_path / "queue.txt").write_text("a\n")
    runner = runner_on(tmp_path, script)
    runner.start()
    await until((tmp_path / "started").exists)
    assert runner.running
    await runner.close()
    assert not runner.running
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_failing_question_does_not_end_the_watch(tmp_path: Path) -> None:
    answers = iter([OSError("the catalogue is locked"), OSError("still"), False])
    asked = 0

    async def unfinished() -> bool:
        nonlocal asked
        asked += 1
        answer = next(answers, False)
        if isinstance(answer, OSError):
            raise answer
        return answer

    runner = JobRunner(["true"], unfinished, Metrics(), poll_s=0.01, first_pause_s=0.01)
    runner.start()
    await until(lambda: asked >= 4)
    await runner.close()
