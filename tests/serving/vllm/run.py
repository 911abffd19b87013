"""Runs the suites that need a real vLLM: ``make test-vllm``.

Builds a tiny Qwen3 and a tiny cross-encoder, starts them by ``python -m
serving.vllm`` (which installs vLLM first unless an environment is named), runs
the tests against them, and stops them.  The environment and the checkpoints
are kept for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUITES = ("tests/serving/vllm", "tests/distill/vllm")
MODEL = "tiny-qwen3"
SCORING_MODEL = "tiny-xlm-r"
# Compiling takes minutes at each start, and these models need no speed.
_COMMON = ["--device", "cpu", "--kv-cache-gb", "1", "--ready-timeout-s", "1800", "--enforce-eager"]
_GENERATES = ["--max-model-len", "4096"]
# An encoder has no keys and values to keep, and vLLM 0.32 stops when it is told to cache them.
_SCORES = [
    "--max-model-len",
    "508",
    "--runner",
    "pooling",
    "--no-enable-prefix-caching",
    "--dtype",
    "float32",
]
_ANNOUNCED = "WINNOW_GENERATION__URL="
# One replica of the tiny model takes about 4 GB, most of it libraries.
_TWO_REPLICAS_GB = 12.0


def main() -> int:
    """Return pytest's exit code; 1 when a server did not start or did not stop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--environment", type=Path, help="where vLLM is installed already")
    parser.add_argument("--cache", type=Path, default=Path(".winnow/vllm-test"))
    parser.add_argument("--replicas", type=int, default=0, help="0: two where memory allows, else one")
    options = parser.parse_args()
    cache = options.cache.absolute()
    replicas = options.replicas or (2 if _free_gb() >= _TWO_REPLICAS_GB else 1)
    with contextlib.ExitStack() as stack:
        environment = _environment(options, cache)
        generating = Server(cache, [*environment, "--replicas", str(replicas), *_GENERATES])
        urls = stack.enter_context(generating.running(_qwen3(cache / MODEL)))
        scoring = Server(cache / "scoring", [*environment, *_SCORES])
        scores = stack.enter_context(scoring.running(_cross_encoder(cache / SCORING_MODEL))) if urls else []
        if not urls or not scores:
            return 1
        failed = _tested(urls, scores)
    return failed or int(any([generating.left_behind(), scoring.left_behind()]))


class Server:
    """One ``python -m serving.vllm``, whose logs and process ids are in ``home``."""

    def __init__(self, home: Path, options: list[str]) -> None:
        self._home = home
        self._options = options
        self._code: int | None = None

    @contextlib.contextmanager
    def running(self, model: Path) -> Iterator[list[str]]:
        """Yield the addresses of its replicas, none when it ended before they were ready."""
        command = [sys.executable, "-m", "serving.vllm", str(model), "--port", str(_free_port()), *_COMMON]
        environment = {**_plain_environment(), "WINNOW_HOME": str(self._home)}
        server = subprocess.Popen(
            [*command, *self._options], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            yield _announced(server)
        finally:
            server.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(120)
            server.kill()
            self._code = server.wait(30)

    def left_behind(self) -> bool:
        """Whether the server ended with an error, or left a replica running."""
        left = list((self._home / "vllm").glob("*.pid"))
        if self._code != 0 or left:
            sys.stderr.write(f"a server ended with {self._code}; still there: {left}\n")
            return True
        return False


def _qwen3(folder: Path) -> Path:
    if not (folder / "tokenizer.json").is_file():
        from tests.fakes.qwen3 import build_qwen3

        build_qwen3(folder)
    return folder


def _cross_encoder(folder: Path) -> Path:
    if not (folder / "tokenizer.json").is_file():
        from tests.fakes.cross_encoder import build_served

        build_served(folder)
    return folder


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}


def _environment(options: argparse.Namespace, cache: Path) -> list[str]:
    if options.environment is not None:
        return ["--environment", str(options.environment)]
    return ["--environment", str(cache / "env"), "--install"]


def _announced(server: subprocess.Popen[str]) -> list[str]:
    """Return the addresses once the server tells them, none when it ends before."""
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(_ANNOUNCED):
            return line.strip().removeprefix(_ANNOUNCED).split(",")
    return []


def _tested(urls: list[str], scores: list[str]) -> int:
    named = {"WINNOW_TEST_VLLM_URL": urls[0], "VLLM_TEST_SECOND_URL": urls[1] if len(urls) > 1 else ""}
    environment = {**_plain_environment(), **named, "VLLM_TEST_SCORE_URL": scores[0]}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", *SUITES], env=environment, check=False
    ).returncode


def _free_gb() -> float:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1_000_000
    return 0.0


def _free_port() -> int:
    """Return the first of two neighbouring free ports."""
    for port in range(18_100, 19_000, 2):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for number in (port, port + 1):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
    raise RuntimeError("no free ports")


if __name__ == "__main__":
    sys.exit(main())
