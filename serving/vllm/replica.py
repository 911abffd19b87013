"""One vLLM process: started in a session of its own, watched, stopped with all its children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from indexing.errors import WinnowError

_POLL_S = 0.5
_TAIL_LINES = 40
_PROBE_S = 2.0
_TOO_LONG = re.compile(r"greater than the derived max_model_len \(max_position_embeddings=(\d+)")


class ReplicaError(WinnowError):
    """A replica did not start, or does not go on."""


def advice(log: str) -> str:
    """Return what to do about a failure that this command's own default makes; empty for any other.

    vLLM's message advises to override the limit, which breaks the model.
    """
    found = _TOO_LONG.search(log)
    if found is None:
        return ""
    most = found[1]
    return (
        f"\n\nThe model takes {most} tokens at most: start with --max-model-len {most}, and keep "
        "generation.history_tokens, context_tokens and max_tokens together below it."
    )


class Replica:
    """A child process with its log; ``start``, ``wait_ready`` and ``stop`` in this order."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, url: str, log: Path, pid_file: Path
    ) -> None:
        self.url = url
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._pid_file = pid_file
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process; its output goes to the log.

        Raises:
            ReplicaError: an earlier one still runs, or the program is not there.
        """
        running = running_pid(self._pid_file)
        if running is not None:
            raise ReplicaError(
                f"process {running} of an earlier start still serves {self.url}; "
                "stop it with: python -m serving.vllm --stop"
            )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise ReplicaError(f"{self._command[0]} does not start: {error}") from error
        self._pid_file.write_text(f"{self._process.pid}\n", encoding="ascii")

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when the server answers ``/health``.

        Raises:
            ReplicaError: the process ended, or did not answer in time; the end
                of its log is in the message.
        """
        process = self._running()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        async with httpx.AsyncClient(timeout=_PROBE_S, trust_env=False) as client:
            while loop.time() < deadline:
                if process.returncode is not None:
                    tail = self.tail()
                    raise ReplicaError(f"vLLM ended with code {process.returncode}:\n{tail}{advice(tail)}")
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{self.url}/health")).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(_POLL_S)
        raise ReplicaError(f"vLLM was not ready within {timeout_s:g} s:\n{self.tail()}")

    async def ended(self) -> int:
        """Return the exit code once the process has ended."""
        return await self._running().wait()

    async def stop(self, timeout_s: float) -> None:
        """End the process and its children: asked first, killed after ``timeout_s``."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), timeout_s)
            except TimeoutError:
                _signal_group(process.pid, signal.SIGKILL)
                await process.wait()
        # Workers that outlived their parent are in its process group.
        _signal_group(process.pid, signal.SIGKILL)
        self._pid_file.unlink(missing_ok=True)

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the end of the log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join(text.splitlines()[-lines:])

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise ReplicaError(f"the replica at {self.url} was not started")
        return self._process


def running_pid(pid_file: Path, program: bytes = b"vllm.entrypoints") -> int | None:
    """Return the process id in the file when that process runs ``program``, else None."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if program in command else None


def stop_group(pid: int) -> None:
    """Ask a replica of an earlier start to end."""
    _signal_group(pid, signal.SIGTERM)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
