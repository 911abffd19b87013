"""Runs the suites that need a real vLLM: ``make test-vllm``.

Builds a tiny Qwen3, starts it by ``python -m serving.vllm`` (which installs
vLLM first unless an environment is named), runs the tests against it, and
stops it.  The environment and the checkpoint are kept for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

SUITES = ("tests/serving/vllm", "tests/distill/vllm")
MODEL = "tiny-qwen3"
_ANNOUNCED = "WINNOW_GENERATION__URL="
# One replica of the tiny model takes about 4 GB, most of it libraries.
_TWO_REPLICAS_GB = 12.0


def main() -> int:
    """Return pytest's exit code; 1 when the server did not start or did not stop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--environment", type=Path, help="where vLLM is installed already")
    parser.add_argument("--cache", type=Path, default=Path(".winnow/vllm-test"))
    parser.add_argument("--replicas", type=int, default=0, help="0: two where memory allows, else one")
    options = parser.parse_args()
    cache = options.cache.absolute()
    model = cache / MODEL
    if not (model / "tokenizer.json").is_file():
        from tests.fakes.qwen3 import build_qwen3

        build_qwen3(model)
    replicas = options.replicas or (2 if _free_gb() >= _TWO_REPLICAS_GB else 1)
    command = [sys.executable, "-m", "serving.vllm", str(model), *_environment(options, cache)]
    command += ["--port", str(_free_port()), "--replicas", str(replicas), "--device", "cpu"]
    # Compiling takes minutes at each start, and this model needs no speed.
    command += [
        "--max-model-len",
        "4096",
        "--kv-cache-gb",
        "1",
        "--ready-timeout-s",
        "1800",
        "--enforce-eager",
    ]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    variables["WINNOW_HOME"] = str(cache)
    server = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        urls = _announced(server)
        if not urls:
            return 1
        failed = _tested(urls, variables)
    finally:
        server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(120)
        server.kill()
    return failed or _left_behind(server, cache)


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


def _tested(urls: list[str], variables: dict[str, str]) -> int:
    named = {"WINNOW_TEST_VLLM_URL": urls[0], "VLLM_TEST_SECOND_URL": urls[1] if len(urls) > 1 else ""}
    environment = {**variables, **named}
    environment.pop("WINNOW_HOME")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", *SUITES], env=environment, check=False
    ).returncode


def _left_behind(server: subprocess.Popen[str], cache: Path) -> int:
    """Return 1 when the server ended with an error, or left a replica running."""
    left = list((cache / "vllm").glob("*.pid"))
    if server.returncode != 0 or left:
        sys.stderr.write(f"the server ended with {server.returncode}; still there: {left}\n")
        return 1
    return 0


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
