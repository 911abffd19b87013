"""``python -m serving`` as a child process over a small index, for measurements from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.topics import python_topics

_START_S = 120.0
_INDEX_S = 300.0
_STOP_S = 30.0


class LiveService:
    """A running service: where it listens, and what its processes hold."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address
        self.port = int(address.rsplit(":", 1)[1])

    def call(self, path: str, body: object = None, timeout_s: float = 30.0) -> Any:
        """Return the JSON answer of one request."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.address}{path}", data, headers)  # noqa: S310 - http, loopback
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return json.load(answer)

    def index(self, documents: Sequence[Mapping[str, str]]) -> None:
        """Index documents and wait until they are searchable."""
        job = self.call("/v1/documents", {"documents": list(documents)})["job_id"]
        end = time.monotonic() + _INDEX_S
        while (state := self.call(f"/v1/jobs/{job}")["state"]) != "succeeded":
            if state not in ("queued", "running") or time.monotonic() > end:
                raise RuntimeError(f"the documents were not indexed: {state}")
            time.sleep(0.2)

    def resident_mb(self) -> float:
        """Return the resident memory of the service's process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def live_service(home: Path, **variables: str) -> Iterator[LiveService]:
    """Start a service on a free port of loopback; ``variables`` go into its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    with (home.parent / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--port", "0", "--home", str(home), "--log-level", "warning"],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**environment, "WINNOW_COLLECTION__IDLE_EXIT_S": "2", **variables},
            text=True,
        )
        try:
            yield LiveService(process, _address(process))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise RuntimeError("the service has no output")
    readable, _, _ = select.select([process.stdout], [], [], _START_S)
    line = process.stdout.readline() if readable else ""
    found = re.search(r"http://\S+(?=/$)", line.strip())
    if found is None:
        process.kill()
        raise RuntimeError(f"the service did not start; it said {line!r}")
    return found.group()


def topic_documents(count: int) -> list[dict[str, str]]:
    """Return the first ``count`` topics of Python's language reference as documents."""
    return [
        {"doc_id": str(item.extraction.doc_id), "title": item.extraction.title, "text": item.extraction.text}
        for item in python_topics()[:count]
    ]
