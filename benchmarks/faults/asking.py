"""One search, what it saw, and which metric grew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

QUESTION = "How often is the database backed up?"
# The service's own work around a failure: 0.1 s where the machine has nothing else to do.
GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one search saw while a part had a fault.

    ``well``: the fault is none, or one that is not to be noticed.
    """

    part: str
    fault: str
    status: int
    kind: str  # of the problem; "" of an answer
    degraded: tuple[str, ...]
    seconds: float
    limit_s: float
    counted: str  # what grew in /metrics
    retry_after: bool
    expected: str  # "answer", "degraded" or "refused"

    @property
    def as_it_should_be(self) -> bool:
        timely = self.seconds <= self.limit_s + GRACE_S
        if self.expected == "answer":
            return timely and self.status == 200 and not self.degraded
        if self.expected == "degraded":
            return timely and self.status == 200 and bool(self.degraded) and bool(self.counted)
        return timely and self.status in (503, 504) and bool(self.kind and self.counted and self.retry_after)


async def _counts(client: httpx.AsyncClient) -> dict[str, float]:
    found = {}
    for line in (await client.get("/metrics")).text.splitlines():
        name = line.split(" ")[0]
        failed = name.startswith("winnow_part_failures_total")
        late = name.startswith("winnow_requests_total") and 'status="504"' in name
        if failed or late:
            found[name] = float(line.rsplit(" ", 1)[1])
    return found


async def ask(
    client: httpx.AsyncClient,
    part: str,
    fault: str,
    *,
    limit_s: float,
    expected: str,
    inject: Callable[[], object] | None = None,
) -> Outcome:
    """Search once and look at the answer, the time it took, and what was counted.

    ``inject`` is called right before the search: looking at the metrics asks the parts too.
    """
    before = await _counts(client)
    if inject is not None:
        inject()
    began = time.perf_counter()
    answer = await client.post("/v1/search", json={"query": QUESTION})
    seconds = time.perf_counter() - began
    after = await _counts(client)
    grown = [name for name, value in after.items() if value > before.get(name, 0.0)]
    body = answer.json()
    return Outcome(
        part=part,
        fault=fault,
        status=answer.status_code,
        kind=str(body.get("type", "")),
        degraded=tuple(body.get("receipt", {}).get("degraded", ())),
        seconds=round(seconds, 2),
        limit_s=limit_s,
        counted=", ".join(_short(name) for name in grown),
        retry_after="retry-after" in answer.headers,
        expected=expected,
    )


def _short(name: str) -> str:
    return 'requests{status="504"}' if "requests" in name else name.removeprefix("winnow_")
