"""The supervisor of vLLM, over a program that plays vLLM: real processes, real signals."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from indexing.errors import SettingsError
from indexing.settings import GenerationSettings
from serving.vllm.cli import run
from serving.vllm.command import arguments, environment
from serving.vllm.install import installed, requirements_on_cpu
from serving.vllm.models import SUGGESTIONS, suggestion
from serving.vllm.replica import ReplicaError, running_pid
from serving.vllm.settings import VllmSettings
from serving.vllm.supervise import make_replicas, supervise
from tests.fakes.fake_vllm import alive, make_environment

PATIENCE_S = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def free_ports(count: int) -> int:
    """Return the first of ``count`` neighbouring free ports."""
    for first in range(20_000, 60_000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def settings(tmp_path: Path, **changes: object) -> VllmSettings:
    folder = tmp_path / "env"
    if not folder.exists():
        make_environment(folder)
    given = {"model": "some/model", "port": free_ports(2), "environment": folder, "state": tmp_path / "state"}
    return VllmSettings.model_validate(
        {**given, "device": "cpu", "ready_timeout_s": 20, "stop_timeout_s": 1, **changes}
    )


def test_the_default_length_holds_the_longest_prompt_of_the_defaults() -> None:
    """A longer prompt is refused by the server, and the answer would be quoted instead of written."""
    ours = GenerationSettings()
    longest = ours.history_tokens + ours.context_tokens + ours.max_tokens
    room = 1500  # instruction, template, labels, a long question
    assert longest + room <= VllmSettings.model_fields["max_model_len"].default
    told = inspect.signature(run).parameters["max_model_len"].default
    assert told == VllmSettings.model_fields["max_model_len"].default


class Run:
    def __init__(self, made: VllmSettings, mode: str = "", **variables: str) -> None:
        self.settings = made
        self.replicas = make_replicas(made, {**os.environ, "FAKE_VLLM": mode, **variables})
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.said: list[str] = []
        self.task = asyncio.create_task(
            supervise(self.replicas, made, self.stop, self.said.append, ready=self.ready.set)
        )

    def pid(self, replica: int = 0) -> int | None:
        return running_pid(self.settings.state / f"replica-{replica}.pid")


@contextlib.asynccontextmanager
async def running(run: Run) -> AsyncIterator[Run]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            waiting = asyncio.create_task(run.ready.wait())
            await asyncio.wait({waiting, run.task}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        yield run
    finally:
        run.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(run.task, return_exceptions=True)


@pytest.mark.anyio
async def test_replicas_start_answer_and_stop_without_a_trace(tmp_path: Path) -> None:
    async with running(Run(settings(tmp_path, replicas=2))) as run:
        assert run.ready.is_set()
        pids = [run.pid(0), run.pid(1)]
        async with httpx.AsyncClient() as client:
            for url in run.settings.urls.split(","):
                assert (await client.get(f"{url}/health")).status_code == 200
    assert all(pid is not None and not alive(pid) for pid in pids)
    assert list(run.settings.state.glob("*.pid")) == []
    assert any("is ready after" in line for line in run.said)
    assert run.task.exception() is None
    assert "cache 4" in run.replicas[0].tail()


@pytest.mark.anyio
async def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    async with running(Run(settings(tmp_path), "fail")) as run:
        error = run.task.exception()
    assert isinstance(error, ReplicaError)
    assert "ended with code 3" in str(error)
    assert "RuntimeError: out of memory" in str(error)
    assert "tokens at most" not in str(error)


@pytest.mark.anyio
async def test_a_model_that_takes_fewer_tokens_is_told_with_the_option_to_give(tmp_path: Path) -> None:
    async with running(Run(settings(tmp_path), "short")) as run:
        error = run.task.exception()
    assert isinstance(error, ReplicaError)
    assert "(12288) is greater than" in str(error)
    assert "start with --max-model-len 8192, and keep generation.history_tokens" in str(error)


@pytest.mark.anyio
async def test_one_that_never_answers_is_given_up_and_killed(tmp_path: Path) -> None:
    run = Run(settings(tmp_path, ready_timeout_s=1.0), "deaf")
    async with running(run):
        assert "not ready within 1 s" in str(run.task.exception())
    assert run.pid() is None


@pytest.mark.anyio
async def test_a_replica_that_dies_is_started_again_but_not_for_ever(tmp_path: Path) -> None:
    async with (
        running(Run(settings(tmp_path, restarts=1))) as run,
        httpx.AsyncClient() as client,
        asyncio.timeout(PATIENCE_S),
    ):
        with contextlib.suppress(httpx.HTTPError):
            await client.get(f"{run.settings.url(0)}/die")
        while sum("is ready" in line for line in run.said) < 2:
            await asyncio.sleep(0.05)
        while not run.task.done():  # the second death is one too many
            with contextlib.suppress(httpx.HTTPError):
                await client.get(f"{run.settings.url(0)}/die")
            await asyncio.sleep(0.05)
    assert "ended 2 times within an hour, last with code 7" in str(run.task.exception())


@pytest.mark.anyio
async def test_one_that_will_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    async with running(Run(settings(tmp_path), "stubborn")) as run:
        stubborn = run.pid()
    assert stubborn is not None
    assert not alive(stubborn)
    note = tmp_path / "child.pid"
    async with running(Run(settings(tmp_path), "child", FAKE_VLLM_CHILD=str(note))):
        child = int(note.read_text())
        assert alive(child)
    async with asyncio.timeout(10):
        while alive(child):
            await asyncio.sleep(0.05)


@pytest.mark.anyio
async def test_what_an_earlier_start_left_is_named_and_can_be_stopped(tmp_path: Path) -> None:
    made = settings(tmp_path)
    async with running(Run(made)) as first:
        second = Run(made)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ReplicaError, match=r"serving\.vllm --stop"):
                await second.task
        pid = first.pid()
        assert pid is not None
        home = made.state.parent
        (home / "vllm").symlink_to(made.state)
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "serving.vllm", "--stop"],
            env={**os.environ, "WINNOW_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        assert ended.stdout == "asked 1 replicas to stop\n"


def test_a_process_id_that_now_is_something_else_is_not_ours(tmp_path: Path) -> None:
    note = tmp_path / "replica-0.pid"
    assert running_pid(note) is None
    note.write_text(str(os.getpid()))
    assert running_pid(note) is None


def test_the_command_line_prints_the_setting_when_ready_and_stops_on_a_signal(tmp_path: Path) -> None:
    made = settings(tmp_path)
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.vllm", "some/model", "--device", "cpu"),
            *("--port", str(made.port), "--environment", str(made.environment), "--dtype", "bfloat16"),
        ],
        env={**os.environ, "WINNOW_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line == f"WINNOW_GENERATION__URL={made.url(0)}\n"
        pid = running_pid(tmp_path / "home" / "vllm" / "replica-0.pid")
        assert pid is not None
        assert b"--dtype\0bfloat16" in Path(f"/proc/{pid}/cmdline").read_bytes()
        program.send_signal(signal.SIGTERM)
        _, told = program.communicate(timeout=PATIENCE_S)
    finally:
        program.kill()
    assert program.returncode == 0, told
    assert not alive(pid)


def test_stop_ends_the_supervisor_which_would_start_its_replicas_again(tmp_path: Path) -> None:
    made = settings(tmp_path)
    variables = {**os.environ, "WINNOW_HOME": str(tmp_path / "home")}
    start = [sys.executable, "-m", "serving.vllm", "some/model", "--device", "cpu", "--environment"]
    start += [str(made.environment), "--port", str(made.port)]
    program = subprocess.Popen(start, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == f"WINNOW_GENERATION__URL={made.url(0)}\n"
        pid = running_pid(tmp_path / "home" / "vllm" / "replica-0.pid")
        second = subprocess.run(start, env=variables, capture_output=True, timeout=PATIENCE_S, check=False)
        assert second.returncode == 1
        stop = [sys.executable, "-m", "serving.vllm", "--stop"]
        subprocess.run(stop, env=variables, capture_output=True, timeout=PATIENCE_S, check=True)
        assert program.wait(PATIENCE_S) == 0
    finally:
        program.kill()
    assert pid is not None
    assert not alive(pid)
    assert list((tmp_path / "home" / "vllm").glob("*.pid")) == []


def test_without_vllm_it_says_how_to_get_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "serving.vllm", "some/model", "--environment", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 2
    assert "--install" in ended.stderr


def test_the_flags_a_retrieval_service_needs(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    made = settings(tmp_path, model=str(tmp_path / "model"), tensor_parallel=2, replicas=2, gpus=(4, 5, 6, 7))
    command = arguments(made, 1, ("--dtype", "half"))
    assert "--enable-prefix-caching" in command
    assert "--enable-prompt-tokens-details" in command
    assert command[command.index("--port") + 1] == str(made.port + 1)
    assert command[command.index("--served-model-name") + 1] == "model"
    assert command[-2:] == ["--dtype", "half"]
    base = {"PATH": "/bin", "PYTHONPATH": "/ours", "VIRTUAL_ENV": "/ours"}
    made_environment = environment(made, 1, base, cpu=False, api_key="k")
    assert made_environment["CUDA_VISIBLE_DEVICES"] == "6,7"
    assert made_environment["VLLM_NO_USAGE_STATS"] == made_environment["HF_HUB_OFFLINE"] == "1"
    assert made_environment["VLLM_API_KEY"] == "k"
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "VLLM_CPU_KVCACHE_SPACE"} & set(made_environment)
    with pytest.raises(SettingsError, match="need 4 GPUs"):
        environment(made.model_copy(update={"gpus": (0, 1, 2)}), 0, {}, cpu=False)


def test_what_has_no_cpu_build_is_left_out() -> None:
    wanted = [
        "torch==2.13.0",
        "torchaudio==2.13.0",
        'numpy>=2; python_version >= "3.9"',
        'pandas; extra == "bench"',
        'winonly; sys_platform == "win32"',
        "mistral_common[image]>=1.8",
    ]
    assert requirements_on_cpu(wanted) == ["numpy>=2", "mistral_common[image]>=1.8"]


def test_an_unfinished_install_does_not_count(tmp_path: Path) -> None:
    assert installed(tmp_path) is None
    (tmp_path / "winnow-vllm.json").write_text('{"package": "vllm-cpu", "version": "1"}')
    assert installed(tmp_path) == "vllm-cpu==1"
    (tmp_path / "winnow-vllm.json").write_text("[1]")
    assert installed(tmp_path) is None


@pytest.mark.parametrize(
    ("memory_gb", "card"), [(4, None), (7.9, 8), (8, 8), (23.6, 24), (48, 24), (79.6, 80), (141, 80)]
)
def test_a_suggestion_fits_its_card(memory_gb: float, card: int | None) -> None:
    found = suggestion(memory_gb)
    assert (None if found is None else found.memory_gb) == card
    assert all(one.weights_gb <= 0.75 * one.memory_gb for one in SUGGESTIONS)
