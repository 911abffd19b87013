"""The golden-pair gate: a healthy teacher passes, every fault is caught and named."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import teacher_faults
from benchmarks.teacher_faults import ASKED, FAULTS, Outcome, outcome
from distill.errors import GoldenGateError, TeacherRefusedError, TeacherUnavailableError
from distill.golden import GoldenBounds, GoldenReport, check_teacher
from distill.golden.checks import kendall_tau
from distill.golden.gate import judge
from distill.golden.pairs import GOLDEN, passages_of, tail_pairs
from distill.golden.probe import observe
from distill.records import Passage, Query, Scale
from distill.teachers import TeacherAnswer, TeacherCard, TeacherSettings, open_teacher
from distill.teachers.protocol import make_card
from distill.teachers.settings import Method
from tests.fakes.teacher_server import FakeTeacherServer, Fault, log_odds

Scorer = Callable[[Query, Sequence[Passage]], Sequence[float]]


class Own:
    """A teacher in the process, whose scores a function gives."""

    def __init__(self, scorer: Scorer, scale: Scale = "logit") -> None:
        self._scorer = scorer
        self._scale = scale

    @property
    def card(self) -> TeacherCard:
        kind = "listwise" if self._scale == "rank" else "pointwise"
        return make_card(
            model="own",
            kind=kind,
            method="test",
            prompt_name="none",
            prompt="",
            activation="",
            scale=self._scale,
        )

    async def score(self, query: Query, passages: Sequence[Passage]) -> TeacherAnswer:
        return TeacherAnswer(tuple(self._scorer(query, passages)), self._scale, calls=1)

    async def aclose(self) -> None:
        return None

    async def __aenter__(self) -> Own:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None


def good(query: Query, passages: Sequence[Passage]) -> list[float]:
    return [log_odds(query.text, one.text) for one in passages]


def report(scorer: Scorer, scale: Scale = "logit", bounds: GoldenBounds | None = None) -> GoldenReport:
    teacher = Own(scorer, scale)
    bounds = bounds or GoldenBounds()
    return judge(teacher.card, asyncio.run(observe(teacher, bounds)), bounds)


def failed(scorer: Scorer, scale: Scale = "logit") -> dict[str, str]:
    return {check.name: check.detail for check in report(scorer, scale).failed}


# -- through a server: what the fault table shows -----------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[FakeTeacherServer]:
    with FakeTeacherServer() as running:
        yield running


# What is the same for all ways of asking is tried by one; `python -m benchmarks.teacher_faults` runs all.
TRIED: list[tuple[Fault, Method]] = [
    (fault, method)
    for fault, (_, methods) in FAULTS.items()
    for method in methods
    if fault == "none"
    or method == methods[0]
    or (fault in ("missing-token", "nan", "http-429", "malformed-json"))
    or (method == "listwise" and fault in ("swapped", "length", "truncated", "order-dependent"))
]


@pytest.mark.parametrize(("fault", "method"), TRIED)
def test_every_fault_is_caught_and_health_passes(
    server: FakeTeacherServer, fault: Fault, method: Method
) -> None:
    found = asyncio.run(outcome(server, fault, method))
    assert found.as_it_should_be, found
    if fault in ("http-500", "http-429", "timeout"):
        assert (found.error, found.retryable) == ("TeacherUnavailableError", True)
    elif fault in ("http-401", "split-label") or (fault, method) == ("missing-token", "generative-scoring"):
        assert found.error == "TeacherRefusedError"
    elif fault != "none":
        assert found.error == "GoldenGateError"
        assert found.checks


@pytest.mark.parametrize(
    ("fault", "method", "words"),
    [
        ("swapped", "generative-scoring", "swapped, yes and no"),
        ("constant", "completions", "standard deviation 0 "),
        ("floored", "completions", "scores are exactly the lowest, -10"),
        ("truncated", "generative-scoring", "cut off?"),
        ("query-blind", "generative-scoring", "does not depend on the query"),
        ("order-dependent", "generative-scoring", "largest change in another order"),
        ("probabilities", "score", "probabilities, not logits"),
        ("missing-token", "completions", "'yes' (token"),
        ("input-order", "listwise", "a list and its reverse -1.00"),
    ],
)
def test_the_refusal_says_what_is_wrong(
    server: FakeTeacherServer, fault: Fault, method: Method, words: str
) -> None:
    found = asyncio.run(outcome(server, fault, method))
    assert words in found.message
    assert "was not asked for a label" in found.message


def test_a_server_that_is_starting_is_waited_for() -> None:
    with FakeTeacherServer(fail_first=2) as running:
        assert checked(running, attempts=3).passed
        running.fail_first = 3
        with pytest.raises(TeacherUnavailableError, match="503: starting"):
            checked(running, attempts=3)


def test_a_refusal_and_a_dead_server_cost_one_call() -> None:
    with FakeTeacherServer("http-401") as running:
        with pytest.raises(TeacherRefusedError, match="401"):
            checked(running)
        running.fault = "http-500"
        with pytest.raises(TeacherUnavailableError):
            checked(running, attempts=2)
        assert [call.status for call in running.model_calls] == [401, 500, 500]


def test_calls_are_bounded(server: FakeTeacherServer) -> None:
    server.fault = "none"
    server.most_in_flight = 0
    found = checked(server, concurrency=3)
    assert server.most_in_flight <= 3
    assert (found.calls, len(found.scores)) == (23, 56)


def checked(server: FakeTeacherServer, **bounds: float) -> GoldenReport:
    async def go() -> GoldenReport:
        chosen = TeacherSettings(url=server.url, model=server.model)
        async with open_teacher(chosen) as teacher:
            return await check_teacher(teacher, GoldenBounds.model_validate({"first_wait_s": 0.01, **bounds}))

    return asyncio.run(go())


# -- in the process: the checks one by one ------------------------------------


def test_a_good_teacher_fails_nothing() -> None:
    assert failed(good) == {}
    assert failed(lambda query, passages: ranks(good(query, passages)), "rank") == {}


def ranks(scores: Sequence[float]) -> list[float]:
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    found = [0.0] * len(scores)
    for rank, index in enumerate(order, start=1):
        found[index] = -float(rank)
    return found


def test_small_changes_between_batches_are_no_fault() -> None:
    # bf16 in another batch: a few hundredths.
    noisy = failed(lambda q, ps: [s + 0.05 * (i % 2) for i, s in enumerate(good(q, ps))])
    assert noisy == {}


def test_one_language_alone_is_named() -> None:
    def no_chinese(query: Query, passages: Sequence[Passage]) -> list[float]:
        return [
            hash_of(one.text) if ord(query.text[0]) > 0x3000 else log_odds(query.text, one.text)
            for one in passages
        ]

    found = failed(no_chinese)
    assert "relevance zh" in found
    assert "relevance en" not in found
    english = report(no_chinese, bounds=GoldenBounds(languages=("en",), min_exchanged_right=0.55))
    assert "relevance zh" not in [check.name for check in english.checks]


def hash_of(text: str) -> float:
    return zlib.crc32(text.encode()) % 1000 / 100.0 - 5.0


def test_few_scores_at_the_floor_are_seen_when_it_is_a_round_number() -> None:
    def some(query: Query, passages: Sequence[Passage]) -> list[float]:
        scores = good(query, passages)
        return [
            -20.0 if query.query_id.endswith(("rice", "sea", "tea")) and s == min(scores) else s
            for s in scores
        ]

    assert failed(some) == {"not floored": "3 of 56 scores are exactly the lowest, -20"}


def test_a_ceiling_is_seen_too() -> None:
    found = failed(lambda q, ps: [min(score, -1.0) for score in good(q, ps)])
    assert "exactly the highest, -1" in found["not floored"]


def test_scores_on_another_scale_than_promised() -> None:
    assert "outside 0 to 1" in failed(good, "probability")["scale"]
    assert "no permutation" in failed(good, "rank")["scale"]
    assert "scale" in failed(lambda q, ps: [1 / (1 + 2.718**-s) for s in good(q, ps)])


def test_a_number_that_is_none_and_a_missing_one() -> None:
    assert "not a finite number" in failed(lambda q, ps: [float("nan"), *good(q, ps)[1:]])["answers"]
    assert "3 scores for 4 passages" in failed(lambda q, ps: good(q, ps)[1:])["answers"]


def test_tail_bound_follows_the_length_that_matters() -> None:
    def first_300_characters(query: Query, passages: Sequence[Passage]) -> list[float]:
        return good(query, [replace(one, text=one.text[:300]) for one in passages])

    assert "reads to the end" in failed(first_300_characters)
    assert report(first_300_characters, bounds=GoldenBounds(tail_words=30)).passed


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=40, max_size=40))
def test_a_score_that_does_not_look_at_the_query_gets_half_at_most(values: list[float]) -> None:
    found: dict[str, float] = {}

    def blind(query: Query, passages: Sequence[Passage]) -> list[float]:
        return [found.setdefault(one.text, values[len(found) % 40]) for one in passages]

    share = next(check.detail for check in report(blind).checks if check.name == "reads the query")
    assert float(share.split()[0]) <= 0.5


def test_the_pairs_do_not_give_themselves_away() -> None:
    assert len(GOLDEN) >= 12
    assert {one.language for one in GOLDEN} == {"en", "zh"}
    shorter = sum(len(one.relevant) < len(one.hard) for one in GOLDEN)
    assert shorter == len(GOLDEN) / 2
    for number, one in enumerate(GOLDEN):
        passages = passages_of(number)
        assert passages[0].doc_id == one.name
        assert len({passage.text for passage in passages}) == 4
    for tail in tail_pairs(100):
        common = len(tail.relevant.text) - 60
        assert tail.relevant.text[:common] == tail.other.text[:common]


def test_kendall_tau_by_hand() -> None:
    one = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert kendall_tau(one, one) == 1.0
    assert kendall_tau(one, {"a": 3.0, "b": 2.0, "c": 1.0}) == -1.0
    assert kendall_tau(one, {"a": 2.0, "b": 1.0, "c": 3.0}) == pytest.approx(1 / 3)
    assert kendall_tau(one, {"a": 1.0, "b": 1.0, "c": 1.0}) == 0.0
    assert kendall_tau(one, {}) == 0.0


def test_the_error_carries_the_report() -> None:
    with pytest.raises(GoldenGateError) as caught:
        asyncio.run(check_teacher(Own(lambda q, ps: [-s for s in good(q, ps)])))
    assert caught.value.report is not None
    assert not caught.value.report.passed


# -- the table ----------------------------------------------------------------


def test_the_table_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def all_caught() -> list[Outcome]:
        return [
            Outcome(fault, method, None if fault == "none" else "GoldenGateError", False, ("answers",), "x")
            for fault, (_, methods) in FAULTS.items()
            for method in methods
        ]

    async def given_outcomes() -> list[Outcome]:
        return outcomes

    outcomes = all_caught()
    monkeypatch.setattr(teacher_faults, "all_outcomes", given_outcomes)
    assert teacher_faults.main(["--json", str(tmp_path / "faults.json")]) == 0
    assert len(json.loads((tmp_path / "faults.json").read_text())["outcomes"]) == len(outcomes)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count("|") == len(ASKED) + 2
    outcomes[5] = replace(outcomes[5], error=None, checks=())
    assert teacher_faults.main([]) == 1
    outcomes = [replace(all_caught()[0], error="GoldenGateError"), *all_caught()[1:]]
    assert teacher_faults.main([]) == 1
    out = capsys.readouterr().out
    assert "**NOT CAUGHT**" in out
    assert "**REFUSED**" in out
