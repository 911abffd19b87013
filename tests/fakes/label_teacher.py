"""Teachers that give each pair a fixed score and write down every pair they are asked for."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import anyio

from distill.labelling.runner import label
from distill.labelling.settings import LabelSettings
from distill.labelling.store import LabelStore
from distill.records import CandidateList, Passage, Query
from distill.teachers.protocol import TeacherAnswer, TeacherCard, TeacherKind, make_card


def card(
    kind: TeacherKind = "pointwise", prompt: str = "judge {query} {passage}", **changed: str
) -> TeacherCard:
    return make_card(
        **{
            "model": "fake",
            "kind": kind,
            "method": "precomputed",  # no golden pairs: those have tests of their own
            "prompt_name": "fake",
            "prompt": prompt,
            "activation": "none",
            "scale": "logit" if kind == "pointwise" else "rank",
            **changed,
        }
    )


def score_of(query: str, passage: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{query}|{passage}".encode()).digest()[:4], "big") / 2**32


class FakeTeacher:
    """Deterministic; ``fault`` may raise for a query, ``delay_s`` makes calls overlap."""

    def __init__(
        self,
        journal: Path | None = None,
        *,
        kind: TeacherKind = "pointwise",
        delay_s: float = 0.0,
        fault: Callable[[Query, int], Exception | None] = lambda query, attempt: None,
        **changed: str,
    ) -> None:
        self.card = card(kind, **changed)
        self.asked: list[tuple[str, str]] = []
        self.calls: list[tuple[str, int]] = []
        self.running = self.most_running = 0
        self._attempts: dict[str, int] = {}
        self._journal = journal
        self._delay_s = delay_s
        self._fault = fault

    async def score(self, query: Query, passages: Sequence[Passage]) -> TeacherAnswer:
        attempt = self._attempts[query.text] = self._attempts.get(query.text, 0) + 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            error = self._fault(query, attempt)
            if error is not None:
                raise error
            self._write_down(query, passages)
            await asyncio.sleep(self._delay_s)
        finally:
            self.running -= 1
        scores = [score_of(query.text, passage.text) for passage in passages]
        if self.card.kind == "listwise":
            scores = [-float(sorted(scores, reverse=True).index(score) + 1) for score in scores]
        tokens = 10 * len(passages)
        return TeacherAnswer(tuple(scores), self.card.scale, tokens, tokens // 2, 5, 1, 0)

    def _write_down(self, query: Query, passages: Sequence[Passage]) -> None:
        self.calls.append((query.query_id, len(passages)))
        self.asked.extend((query.text, passage.text) for passage in passages)
        if self._journal is not None:
            lines = "".join(f"{query.text}\t{passage.text}\n" for passage in passages)
            with self._journal.open("ab") as file:
                file.write(lines.encode())  # survives SIGKILL: it is the system's once written

    async def aclose(self) -> None:
        return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return


def candidates(queries: int, passages: int) -> list[CandidateList]:
    return [
        CandidateList(
            Query(f"q{i}", f"question {i}"),
            tuple(Passage(f"d{i}-{j}", f"passage {j} of {i}") for j in range(passages)),
        )
        for i in range(queries)
    ]


def run_and_exit(store: Path, journal: Path, kind: TeacherKind) -> None:
    """A whole run in a process of its own; it is killed or ends with 0."""
    teacher = FakeTeacher(journal, kind=kind, delay_s=0.01)
    settings = LabelSettings(concurrency=4, batch=3)
    with LabelStore(store) as opened:
        report = anyio.run(label, candidates(12, 9), teacher, opened, settings)
    os._exit(0 if report.complete else 1)
