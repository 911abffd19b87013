"""The comparison of orders: the same passages, ranks told in one way each, and what is scored."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.beir import load_pairs, passage_texts
from benchmarks.context_order import LAYOUTS, Case, ask, lay_out, main, make_cases, report, score
from benchmarks.openai_server import FakeOpenAI, serve
from retrieval.generation.prompts import ContextPassage, build_prompt
from tests.fakes.scripted_generator import ScriptedGenerator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def passage(name: str, text: str, rank: int) -> ContextPassage:
    return ContextPassage(name, "1", 0, len(text), text, name, "", "", None, rank)


CASE = Case(
    "Who painted the harbour?",
    (
        passage("c", "Maria Lund painted the harbour in 1901.", 1),
        passage("a", "The harbour was dredged twice.", 2),
        passage("b", "Boats may wait outside.", 3),
    ),
    gold="c",
)


def test_layouts_hold_the_same_passages_and_differ_in_what_tells_the_ranks() -> None:
    made = lay_out(CASE)
    texts = {name: laid.messages[-1].content for name, laid in made.items()}
    assert made["ours"].messages == build_prompt(CASE.question, CASE.passages).messages
    for name, order in (("ours", "abc"), ("rank order", "cab"), ("no ranks", "abc")):
        assert "".join(re.findall(r"source: (\w)", texts[name])) == order
        assert list(made[name].documents.values()) == list(order)
        assert all(
            f"<passage {label}>\nsource: {document}" in texts[name]
            for label, document in made[name].documents.items()
        )
    line = "Look in passage 3 first, then in 1, 2.\n\n"
    assert [name for name, text in texts.items() if line in text] == ["ours"]
    assert texts["no ranks"] == texts["ours"].replace(line, "")


@pytest.mark.parametrize(
    ("answer", "rests", "support", "cites"),
    [
        ("Maria Lund painted it [3].", 1.0, 1.0, 1.0),
        ("Maria Lund, in Boats [1].", 1.0, 2 / 3, 0.0),
        ("It was dredged twice [3].", 0.0, 0.0, 1.0),
        ("The harbour!", 0.0, 0.0, 0.0),
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_what_an_answer_adds_to_its_question_is_scored(
    answer: str, rests: float, support: float, cites: float
) -> None:
    found = score(CASE, "ours", lay_out(CASE)["ours"], answer)
    assert (found.rests, found.support, found.cites) == (rests, pytest.approx(support), cites)
    assert found.place == 3
    # The same label names another passage where the passages stand by rank.
    assert score(CASE, "rank order", lay_out(CASE)["rank order"], "So [1].").cites == 1.0


async def test_a_model_that_follows_the_place_is_told_from_one_that_reads_the_line() -> None:
    """One repeats the first passage that it sees, one the passage that the line names first."""

    def by_place(request: object) -> str:
        return re.findall(r"source: .*\n(.*)", request.messages[-1].content)[0]  # type: ignore[attr-defined]

    def by_line(request: object) -> str:
        text = request.messages[-1].content  # type: ignore[attr-defined]
        named = re.search(r"Look in passage (\d+) first", text)
        label = named[1] if named else "1"
        return re.search(rf"<passage {label}>\nsource: .*\n(.*)", text)[1]  # type: ignore[index]

    cases = [CASE] * 12
    placed = report(await ask(cases, ScriptedGenerator(by_place), 9, lambda _: None), 3)
    assert "| ours | 0.000 |" in placed
    assert "| rank order | 1.000 |" in placed
    assert "| ours minus rank order | -1.000 [-1.000, -1.000], p 0.00" in placed
    read = report(await ask(cases, ScriptedGenerator(by_line), 9, lambda _: None), 3)
    assert "| ours minus rank order | +0.000" in read
    assert "| ours minus no ranks | +1.000" in read
    assert "word for word the same: 12" in read


def judged_set(folder: Path) -> Path:
    texts = {f"d{number}": f"Topic{number} is about thing{number} and water." for number in range(8)}
    texts["long"] = "topic0 thing0 " * 200
    rows = [{"_id": name, "text": text} for name, text in texts.items()]
    pairs = [
        {"query_id": f"q{number}", "query": f"what is topic{number} water", "doc_id": f"d{number}"}
        for number in range(8)
    ]
    pairs.append({"query_id": "far", "query": "topic1 thing1", "doc_id": "d7"})
    for name, lines in (("corpus", rows), ("pairs", pairs)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_cases_have_their_judged_passage_and_no_long_one(tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    folder = judged_set(tmp_path)
    named = {"passages": 3, "words": 50, "seed": 4}
    cases = make_cases(load_pairs(folder), passage_texts(folder), questions=99, **named)
    assert len(cases) >= 8
    for case in cases:
        assert case.gold in {one.doc_id for one in case.passages}
        assert len(case.passages) == 3
        assert "long" not in {one.doc_id for one in case.passages}
    assert make_cases(load_pairs(folder), passage_texts(folder), questions=2, **named) == cases[:2]


async def test_the_command_prints_the_table_and_writes_every_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bm25s")
    import asyncio

    out = tmp_path / "out.json"
    async with serve(FakeOpenAI()) as model:
        given = [str(judged_set(tmp_path)), "--url", model.url, "--questions", "4", "--json", str(out)]
        assert await asyncio.to_thread(main, given) == 0
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in LAYOUTS)
    body = json.loads(out.read_text())
    assert len(body["answers"]) == 4 * len(LAYOUTS)
    assert await asyncio.to_thread(main, [*given, "--passages", "99"]) == 1
