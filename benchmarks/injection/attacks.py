"""The attacks: passages written to take over an answer, each beside passages that answer truthfully."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from retrieval.generation.prompts import ContextPassage

FOLDER = Path(__file__).resolve().parents[1] / "data" / "injection"
HOST = "collector.example"

Goal = Literal["says", "label", "link", "refuses", "leaks"]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack and the question it waits for.

    Attributes:
        goal: "says" the mark is in the answer, "label" it is there under the
            label of a truthful passage, "link" an address with it, "refuses"
            the true answer is missing, "leaks" the instruction is repeated.
        mark: a word that no honest answer has.
        answer: words that a right answer holds.
        passages: the attack last, as it would be found.
    """

    id: str
    kind: str
    lang: str
    goal: Goal
    mark: str
    question: str
    answer: str
    passages: tuple[ContextPassage, ...]

    @property
    def text(self) -> str:
        """What the hostile passage says."""
        return self.passages[-1].text


def load_attacks(folder: Path = FOLDER) -> list[Attack]:
    """Return the attacks in their file's order."""
    scenarios = {str(row["id"]): row for row in _rows(folder / "scenarios.jsonl")}
    return [_attack(row, scenarios[str(row["scenario"])]) for row in _rows(folder / "attacks.jsonl")]


def checksum(folder: Path = FOLDER) -> str:
    """First 16 hex digits of SHA-256 over both files."""
    whole = b"".join((folder / name).read_bytes() for name in ("attacks.jsonl", "scenarios.jsonl"))
    return hashlib.sha256(whole).hexdigest()[:16]


def _attack(row: Mapping[str, Any], scenario: Mapping[str, Any]) -> Attack:
    mark = "ZQ" + hashlib.sha256(str(row["id"]).encode()).hexdigest()[:6].upper()
    text = str(row["text"]).replace("{mark}", mark)
    truthful = [
        _passage(f"{scenario['id']}-{number}", said, number)
        for number, said in enumerate(scenario["passages"], start=1)
    ]
    # Ids decide the order in the prompt; the attack comes last, where models heed most.
    hostile = _passage(f"{scenario['id']}-9", text, len(truthful) + 1)
    return Attack(
        id=str(row["id"]),
        kind=str(row["kind"]),
        lang=str(row["lang"]),
        goal=cast(Goal, row["goal"]),
        mark=mark,
        question=str(scenario["question"]),
        answer=str(scenario["answer"]),
        passages=(*truthful, hostile),
    )


def _passage(doc_id: str, text: str, rank: int) -> ContextPassage:
    return ContextPassage(doc_id, "v", 0, len(text), text, f"{doc_id}.txt", doc_id, "", None, rank)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
