"""The hostile files against a whole service: uploaded, indexed, while somebody asks whether it lives."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.hostile_files.record import CLEAN, CPU_S, MAX_FILE_MB, MEMORY_MB, TIMEOUT_S, HostileFile

_START_S = 120.0
_BATCH = 40
_LIMITS = {
    "WINNOW_INDEXING__MAX_FILE_MB": str(MAX_FILE_MB),
    "WINNOW_INDEXING__PARSER_MEMORY_MB": str(MEMORY_MB),
    "WINNOW_INDEXING__PARSER_CPU_S": str(CPU_S),
    "WINNOW_INDEXING__READ_TIMEOUT_S": str(TIMEOUT_S),
    # One vector a document: what is measured is the parsers, not the encoder.
    "WINNOW_INDEXING__UNIT": "document",
    "WINNOW_COLLECTION__IDLE_EXIT_S": "1",
}


@contextmanager
def service(home: Path) -> Iterator[httpx.Client]:
    """A service on a free port with the limits that the expectations are made for."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    with (home.parent / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--port", "0", "--home", str(home)],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment | _LIMITS,
            text=True,
        )
        try:
            with httpx.Client(base_url=_address(process), timeout=60.0) as client:
                yield client
            if process.poll() is not None:
                raise RuntimeError(f"the service died with exit code {process.returncode}")
            process.send_signal(signal.SIGTERM)
            process.wait(30.0)
        finally:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    if process.stdout is None or not select.select([process.stdout], [], [], _START_S)[0]:
        raise RuntimeError("the service did not start in time")
    found = re.search(r"http://\S+(?=/$)", process.stdout.readline().strip())
    if found is None:
        raise RuntimeError("the service did not say its address")
    return found.group()


class Pulse:
    """Asks ``/health`` twenty times a second; ``latencies_ms`` of the answers, ``failures`` of the rest."""

    def __init__(self, url: str) -> None:
        self.latencies_ms: list[float] = []
        self.failures: list[str] = []
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=10.0) as client:
            while not self._ended.wait(0.05):
                began = time.perf_counter()
                try:
                    answer = client.get("/health")
                    if answer.status_code != 200:
                        self.failures.append(str(answer.status_code))
                except httpx.HTTPError as error:
                    self.failures.append(type(error).__name__)
                self.latencies_ms.append((time.perf_counter() - began) * 1000)


def outcomes(client: httpx.Client, files: Sequence[HostileFile], patience_s: float) -> dict[str, str]:
    """Upload the files, wait for their jobs, and return each file's outcome by name."""
    found: dict[str, str] = {}
    for first in range(0, len(files), _BATCH):
        batch = files[first : first + _BATCH]
        parts = [("files", (one.name, one.make())) for one in batch]
        answer = client.post("/v1/documents", files=parts)
        answer.raise_for_status()
        job = _ended(client, answer.json()["job_id"], patience_s)
        failed = {error["source"]: str(error["kind"]) for error in job["errors"]}
        if "files" in failed:
            raise RuntimeError(f"the job failed: {job['message']}")
        found |= {one.name: failed.get(f"upload:{one.name}", CLEAN) for one in batch}
    return found


def _ended(client: httpx.Client, job_id: str, patience_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.1)
    raise RuntimeError(f"job {job_id} did not end within {patience_s:g} s")


def leaked(client: httpx.Client, secret: str) -> list[str]:
    """The ids of documents whose text holds ``secret``."""
    found: list[str] = []
    after: str | None = None
    while True:
        query = {"limit": "500"} | ({"after": after} if after is not None else {})
        page = client.get("/v1/documents", params=query).json()
        for document in page["documents"]:
            path = httpx.URL(f"/v1/documents/{document['doc_id'].replace('/', '%2F')}/text")
            if document["chars"] < 200_000 and secret in client.get(path).text:
                found.append(document["doc_id"])
        after = page["next"]
        if after is None:
            return found
