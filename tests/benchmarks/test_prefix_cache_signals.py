"""A benchmark that is told to end leaves no server behind: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.fake_vllm import alive, make_environment

PATIENCE_S = 60
# The whole command but its questions: it waits where it would ask them.
# A shell's background job ignores SIGINT, and so would its children.
PROGRAM = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import benchmarks.prefix_cache.__main__ as command

async def none(options, home):
    return []

async def wait(options, asks, home):
    async with command._servers(options) as urls:
        print("ready", flush=True)
        await asyncio.sleep(600)

command._asks, command._measured = none, wait
sys.exit(command.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_servers_end_with_the_benchmark(tmp_path: Path, number: signal.Signals) -> None:
    environment = make_environment(tmp_path / "env")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", PROGRAM, "--model", str(tmp_path), "--environment", str(environment)]
    run = subprocess.Popen(
        [*command, "--home", str(tmp_path)],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        servers = [int(path.read_text().split()[0]) for path in scratch.rglob("replica-0.pid")]
        assert len(servers) == 2
        assert all(alive(pid) for pid in servers)
        run.send_signal(number)
        _, said = run.communicate(timeout=PATIENCE_S)
    finally:
        run.kill()
    assert not any(alive(pid) for pid in servers)
    assert list(scratch.iterdir()) == []
    if number != signal.SIGINT:
        assert run.returncode == 128 + signal.SIGTERM
        assert said.endswith("ended by a signal; the servers it started are stopped\n")
