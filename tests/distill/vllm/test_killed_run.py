"""``python -m distill label`` on a real vLLM, killed with SIGKILL and started again.

Started as ``test_real_server.py`` is.  A proxy in front of the server writes
down which pairs it was asked for, so that a second call for one of them shows.
"""

from __future__ import annotations

import http.server
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from distill.labelling.store import LabelStore, text_key
from distill.teachers import TeacherSettings, open_teacher

URL = os.environ.get("WINNOW_TEST_VLLM_URL", "")
SEED = 20261123
QUERIES, PASSAGES = 12, 12
CONCURRENCY, BATCH = 2, 2

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not URL, reason="WINNOW_TEST_VLLM_URL names no server"),
]

Pair = tuple[str, str]
PAIRS = {
    (f"what does item {query} cost", f"Item {query} costs {passage + 2} euros in shop {passage}.")
    for query in range(QUERIES)
    for passage in range(PASSAGES)
}


class Proxy(http.server.ThreadingHTTPServer):
    """Passes every request on to vLLM; ``asked`` holds the pairs of scoring calls as they come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[Pair] = []
        self.client = httpx.Client(base_url=URL, timeout=120)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/generative_scoring":
            given = json.loads(body)
            self.server.asked += [
                pair
                for item in given["items"]
                for pair in PAIRS
                if pair[0] in given["query"] and pair[1] in item
            ]
        reply = self.server.client.post(self.path, content=body, headers={"Content-Type": "application/json"})
        try:
            self.send_response(reply.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)
        except OSError:
            pass  # the client was killed

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = Proxy()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()
    server.client.close()


def write_candidates(path: Path) -> None:
    lists: dict[str, list[str]] = {}
    for query, text in sorted(PAIRS):
        lists.setdefault(query, []).append(text)
    rows = [
        {
            "query_id": f"q{n}",
            "query": query,
            "candidates": [{"doc_id": text, "text": text} for text in texts],
        }
        for n, (query, texts) in enumerate(lists.items())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def start(folder: Path, url: str, model: str) -> subprocess.Popen[str]:
    options = ["--candidates", "candidates.jsonl", "--output", "labels.jsonl", "--store", "labels.db"]
    options += ["--config", "label.toml", "--url", url, "--model", model, "--skip-golden"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(
        [sys.executable, "-m", "distill", "label", *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def committed(path: Path, model: str) -> set[Pair]:
    if not path.exists():
        return set()
    card = open_teacher(TeacherSettings(model=model)).card
    with LabelStore(path) as store:
        teacher = store.register(card)
        known = {query: store.scores(teacher, query) for query, _ in PAIRS}
    return {(query, text) for query, text in PAIRS if text_key(text) in known[query]}


def test_killed_runs_ask_for_no_committed_pair_again(proxy: Proxy, tmp_path: Path) -> None:
    model = httpx.get(f"{URL}/v1/models", timeout=30).json()["data"][0]["id"]
    write_candidates(tmp_path / "candidates.jsonl")
    (tmp_path / "label.toml").write_text(
        f"[labelling]\nconcurrency = {CONCURRENCY}\nbatch = {BATCH}\n", encoding="utf-8"
    )
    sys.stdout.write(f"seed {SEED}\n")
    chance = random.Random(SEED)
    kills, lost_in_all, said = 0, 0, ""
    for _ in range(12):
        before, seen = committed(tmp_path / "labels.db", model), len(proxy.asked)
        run = start(tmp_path, proxy.url, model)
        try:
            if kills < 4:
                wanted = seen + chance.randint(4, len(PAIRS) // 6)
                deadline = time.monotonic() + 120
                while run.poll() is None and len(proxy.asked) < wanted and time.monotonic() < deadline:
                    time.sleep(0.002)
            else:
                run.wait(300)
        finally:
            run.kill()
            said = run.communicate(timeout=30)[0]
            time.sleep(0.5)  # what the dead client sent last is still being read by the proxy
        kills += run.returncode == -signal.SIGKILL
        asked, now = proxy.asked[seen:], committed(tmp_path / "labels.db", model)
        assert not set(asked) & before, "a committed pair was asked again"
        lost = set(asked) - now
        assert len(lost) <= CONCURRENCY * BATCH
        lost_in_all += len(lost)
        if run.returncode == 0:
            break
    sys.stdout.write(
        f"{model}: {kills} kills, {len(proxy.asked)} pairs asked, {lost_in_all} on their way\n{said}"
    )
    assert kills == 4
    assert committed(tmp_path / "labels.db", model) == PAIRS
    assert set(proxy.asked) == PAIRS
    # Each pair once, and once more where a kill met it on its way; never twice within one run.
    assert sum(Counter(proxy.asked).values()) == len(PAIRS) + lost_in_all
