"""What a client sees when the language model fails: every fault against the whole service.

::

    python -m benchmarks.generation_faults [--json FILE]

A service over a few documents, with a fake OpenAI server behind it that has
one fault at a time.  Each fault is asked three ways: as a stream where the
service may quote sentences instead, as a stream where it may not, and as one
answer where it may not.  Exit code 1 when an ending is not typed, comes later
than its limit, or leaves no trace in ``/metrics``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from benchmarks.openai_server import MODEL, FakeOpenAI, serve
from benchmarks.provenance import provenance
from indexing.settings import load_settings
from serving.app import create_app

WAYS = ("stream, may quote", "stream", "whole")
QUESTION = "How often is the database backed up?"
DOCUMENTS = [
    {
        "doc_id": "backups",
        "text": "The database is backed up every fifteen minutes. Backups are kept a year.",
    },
    {"doc_id": "rooms", "text": "The blue room has a video wall. It is booked for two hours at most."},
]
FIRST_TOKEN_S, ANSWER_S = 1.0, 4.0
# The service's own work around a failed answer: search, packing, quoting. 0.3 s where the machine
# has nothing else to do, 3 s beside a training run.
GRACE_S = 5.0
GONE_S = 1.0
_PATIENCE_S = 120.0
_READY_S = 1.1  # ``/ready`` repeats what it found within the last second

# What each fault is, and how long its answer may take to end.
FAULTS: Mapping[str, tuple[str, float]] = {
    "": ("none", ANSWER_S),
    "silent": ("no first token", FIRST_TOKEN_S),
    "stall": ("nothing more after two words", FIRST_TOKEN_S),
    "drip": ("one word every 0.8 s, for ever", ANSWER_S),
    "garbled": ("an event that is no JSON", FIRST_TOKEN_S),
    "error-event": ("an error event half-way", FIRST_TOKEN_S),
    "cut": ("the stream ends half-way", FIRST_TOKEN_S),
    "not-a-stream": ("plain text instead of events", FIRST_TOKEN_S),
    "500": ("500", FIRST_TOKEN_S),
    "503": ("503", FIRST_TOKEN_S),
    "429": ("429", FIRST_TOKEN_S),
    "404": ("404, another model is served", FIRST_TOKEN_S),
    "400": ("400, the prompt is too long", FIRST_TOKEN_S),
    "garbled-tokenize": ("token counts that are none", FIRST_TOKEN_S),
    "healed": ("none again", ANSWER_S),
    "down": ("nobody listens", FIRST_TOKEN_S),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault, asked one way.

    ``saw`` is the kind of the answer, or the type and status of the problem.
    """

    fault: str
    way: str
    saw: str
    reason: str
    seconds: float
    limit_s: float
    failures: float  # winnow_generation_failures_total, how much it grew
    ready: bool
    check: str

    @property
    def typed(self) -> bool:
        return self.saw != "untyped"

    @property
    def as_it_should_be(self) -> bool:
        well = self.fault in ("", "healed")
        told = self.failures == 0 and self.check == "ok" if well else self.failures > 0
        return self.typed and self.seconds <= self.limit_s and told


@contextlib.asynccontextmanager
async def _service(home: Path, url: str, fallback: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run the whole service on a free port of loopback."""
    settings = load_settings(
        home=home,
        rerank={"model": "none"},
        expansion={"rewrite": False},
        generation={
            "url": url,
            "model": MODEL,
            "fallback": fallback,
            "first_token_timeout_s": FIRST_TOKEN_S,
            "timeout_s": ANSWER_S,
            "connect_timeout_s": FIRST_TOKEN_S,
        },
    )
    async with (
        running(create_app(settings)) as address,
        httpx.AsyncClient(base_url=address, timeout=60) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on a free port of loopback and give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not server.started:
                if task.done():
                    await task
                    raise RuntimeError("the service ended at its start")
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def _index(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/documents", json={"documents": DOCUMENTS})).raise_for_status().json()
    async with asyncio.timeout(_PATIENCE_S):
        while (await client.get(f"/v1/jobs/{made['job_id']}")).json()["state"] != "succeeded":  # noqa: ASYNC110 - another process works
            await asyncio.sleep(0.1)


async def _failures(client: httpx.AsyncClient) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    name = "winnow_generation_failures_total"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


async def _asked(client: httpx.AsyncClient, fault: str, *, stream: bool, way: str) -> Outcome:
    """Ask once and look at what came, how late, and what the service says of itself."""
    before = await _failures(client)
    began = time.perf_counter()
    answer = await client.post("/v1/query", json={"query": QUESTION, "stream": stream, "max_tokens": 64})
    seconds = time.perf_counter() - began
    saw, reason = _seen_in_events(answer.text) if stream and answer.status_code == 200 else _seen(answer)
    grown = await _failures(client) - before
    await asyncio.sleep(_READY_S)
    ready = await client.get("/ready")
    check = next((one for one in ready.json()["checks"] if one["name"] == "generation"), None)
    return Outcome(
        fault=fault,
        way=way,
        saw=saw,
        reason=reason,
        seconds=round(seconds, 2),
        limit_s=FAULTS[fault][1] + GRACE_S,
        failures=grown,
        ready=ready.status_code == httpx.codes.OK,
        check="no check" if check is None else ("ok" if check["ok"] else check["detail"]),
    )


def _seen(answer: httpx.Response) -> tuple[str, str]:
    try:
        body = answer.json()
    except ValueError:
        return "untyped", answer.text[:200]
    if answer.status_code == httpx.codes.OK:
        return _kind(body["kind"], body["receipt"]["degraded"])
    kind = body.get("type")
    return (f"{answer.status_code} {kind}" if kind else "untyped"), str(body.get("detail", ""))


def _seen_in_events(text: str) -> tuple[str, str]:
    events: list[tuple[str, Any]] = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in fields:
            events.append((fields["event"], json.loads(fields["data"])))
    name, data = events[-1] if events else ("", {})
    if name == "done":
        return _kind(data["kind"], data["degraded"])
    if name == "error" and data.get("type"):
        return f"error event: {data['status']} {data['type']}", data["detail"]
    return "untyped", text[-200:]


def _kind(kind: str, degraded: Sequence[str]) -> tuple[str, str]:
    return f"{kind} answer" + (", degraded" if degraded else ""), "; ".join(degraded)


async def _client_leaves(client: httpx.AsyncClient, fake: FakeOpenAI) -> float:
    """Return the seconds from a client's leaving to the end of the upstream request."""
    fake.fault, fake.token_delay_s = "", 0.05
    fake.reply = lambda body: "word " * 1000
    async with client.stream("POST", "/v1/query", json={"query": QUESTION, "stream": True}) as answer:
        async for line in answer.aiter_lines():
            if line == "event: answer":
                break
    left = time.perf_counter()
    while fake.calls[-1].ended == "running" and time.perf_counter() - left < 10 * GONE_S:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    fake.token_delay_s, fake.reply = 0.0, None
    return time.perf_counter() - left if fake.calls[-1].ended == "left" else float("inf")


async def all_outcomes() -> tuple[list[Outcome], float]:
    """Run every fault every way; return them with the seconds a left request lives on."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        async with serve(FakeOpenAI()) as fake:
            url = fake.url
            async with _service(home, url, "extractive") as client:
                await _index(client)
                for fault in FAULTS:
                    if fault != "down":
                        _set(fake, fault)
                        outcomes.append(await _asked(client, fault, stream=True, way=WAYS[0]))
                gone = await _client_leaves(client, fake)
            async with _service(home, url, "none") as client:
                for fault in FAULTS:
                    if fault != "down":
                        _set(fake, fault)
                        outcomes.append(await _asked(client, fault, stream=True, way=WAYS[1]))
                        outcomes.append(await _asked(client, fault, stream=False, way=WAYS[2]))
        async with _service(home, url, "extractive") as client:
            outcomes.append(await _asked(client, "down", stream=True, way=WAYS[0]))
        async with _service(home, url, "none") as client:
            outcomes.append(await _asked(client, "down", stream=True, way=WAYS[1]))
            outcomes.append(await _asked(client, "down", stream=False, way=WAYS[2]))
    return outcomes, gone


def _set(fake: FakeOpenAI, fault: str) -> None:
    fake.fault = "" if fault in ("drip", "healed") else fault
    fake.token_delay_s = 0.8 if fault == "drip" else 0.0
    fake.reply = (lambda body: "word " * 1000) if fault == "drip" else None


def table(outcomes: Sequence[Outcome], gone_s: float) -> str:
    """Return one row a fault: what each way of asking saw, and how late at most."""
    lines = [
        "| the model's fault | stream, may quote | stream | whole "
        "| slowest, s (limit) | counted | `/ready`: may quote, may not |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault, (name, _) in FAULTS.items():
        mine = {one.way: one for one in outcomes if one.fault == fault}
        cells = " | ".join(_cell(mine[way]) for way in WAYS)
        slowest = max(one.seconds for one in mine.values())
        limit = next(iter(mine.values())).limit_s
        counted = sum(one.failures > 0 for one in mine.values())
        ready = ", ".join("200" if mine[way].ready else "503" for way in WAYS[::2])
        lines.append(f"| {name} | {cells} | {slowest:.2f} ({limit:g}) | {counted} of {len(mine)} | {ready} |")
    lines.append("")
    lines.append(f"A client that leaves: the upstream request ends after {gone_s:.2f} s (limit {GONE_S:g}).")
    return "\n".join(lines)


def _cell(one: Outcome) -> str:
    return one.saw if one.as_it_should_be else f"{one.saw} **NOT AS IT SHOULD BE**"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write every outcome with its reason to this file")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    outcomes, gone_s = asyncio.run(all_outcomes())
    sys.stdout.write(table(outcomes, gone_s) + "\n")
    if options.json is not None:
        body = {"provenance": provenance(), "outcomes": [asdict(one) for one in outcomes], "gone_s": gone_s}
        options.json.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0 if gone_s <= GONE_S and all(one.as_it_should_be for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
