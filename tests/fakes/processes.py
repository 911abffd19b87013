"""``python -m serving`` as a process of a test, on a free port."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

PATIENCE_S = 180.0


class ServiceProcess:
    """A service on ``home``; ``variables`` go into its environment."""

    def __init__(self, home: Path, **variables: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
        environment |= {"WINNOW_ENCODERS__THREADS": "1", "WINNOW_COLLECTION__IDLE_EXIT_S": "1", **variables}
        self._log = (home.parent / "serve.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--port", "0", "--home", str(home)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
        )
        try:
            self.url = self._address()
        except BaseException:
            self._process.kill()
            raise
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def index(self, documents: list[dict[str, str]]) -> None:
        """Index documents and wait for the job's end."""
        answer = self.client.post("/v1/documents", json={"documents": documents})
        assert answer.status_code == 202, answer.text
        assert self.job_end(answer.json()["job_id"])["state"] == "succeeded"

    def job_end(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end; its last state."""
        end = time.monotonic() + PATIENCE_S
        while True:
            job: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
            if job["state"] not in ("queued", "running"):
                return job
            assert time.monotonic() < end, "not indexed in time"
            time.sleep(0.1)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process and wait for it; its exit code."""
        self.client.close()
        self._process.send_signal(how)
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._log.close()

    def _address(self) -> str:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        assert readable, "the service did not start in time"
        line = self._process.stdout.readline()
        found = re.search(r"http://\S+(?=/$)", line.strip())
        assert found, f"no address in {line!r}"
        return found.group()

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.end()
        self.client.close()
        self._log.close()
