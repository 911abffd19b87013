"""The prefix-cache benchmark: layouts with the same passages, the block rule, orders, goals."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.openai_server import BLOCK, FakeOpenAI, serve
from benchmarks.prefix_cache.blocks import BlockCache
from benchmarks.prefix_cache.layouts import LAYOUTS, Dialogue
from benchmarks.prefix_cache.measure import Bench, Row, Sample, rows
from benchmarks.prefix_cache.orders import compare_orders, orders
from benchmarks.prefix_cache.questions import QUESTIONS
from benchmarks.prefix_cache.report import goals, order_table, table
from benchmarks.prefix_cache.streams import Ask
from retrieval.generation.prompts import ContextPassage
from retrieval.generation.protocol import Message


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Words:
    """A tokenizer: one token a word."""

    def encode(self, text: str, *, add_special_tokens: bool) -> SimpleNamespace:
        return SimpleNamespace(ids=text.split())


def passage(number: int, rank: int) -> ContextPassage:
    text = f"Passage number {number} " + " ".join(f"w{number}x{place}" for place in range(40))
    return ContextPassage(
        "doc", "v", 1000 * number, 1000 * number + len(text), text, "file:doc", "", "", None, rank
    )


def found(*numbers: int) -> tuple[ContextPassage, ...]:
    return tuple(passage(number, rank) for rank, number in enumerate(numbers, start=1))


def ask(*numbers: int, question: str = "q?", stream: str = "same document", turn: int = 1) -> Ask:
    return Ask(stream, "section", "doc", turn, question, found(*numbers))  # type: ignore[arg-type]


def shown(messages: tuple[Message, ...]) -> list[int]:
    return [
        int(one) for message in messages for one in re.findall(r"Passage number (\d+) w", message.content)
    ]


def test_every_layout_holds_the_same_passages_in_each_turn() -> None:
    seed = 5
    print(f"seed {seed}")  # noqa: T201
    chosen = random.Random(seed)
    dialogue = Dialogue()
    for turn in range(5):
        made = dialogue.ask(f"question {turn}?", found(*chosen.sample(range(12), 4)), f"answer {turn}")
        held = {layout: sorted(shown(messages)) for layout, messages in made.items()}
        assert set(held) == set(LAYOUTS)
        assert all(one == held["ours"] for one in held.values()), turn
        assert len(set(held["ours"])) == len(held["ours"])


def test_ours_and_kept_turns_only_grow_and_rebuilt_prompts_do_not() -> None:
    dialogue = Dialogue()
    one = dialogue.ask("first?", found(3, 1), "a")
    two = dialogue.ask("second?", found(2, 1), "b")
    for layout in ("ours", "rank order, turns kept"):
        assert two[layout][: len(one[layout])] == one[layout]
    for layout in ("rank order", "llama-index"):
        assert two[layout][: len(one[layout])] != one[layout]


def test_ranks_travel_as_labels_so_order_says_nothing_to_the_model() -> None:
    """Two rankings of the same passages differ in one line; the ranks can be read back from it."""
    prompts = {}
    for numbers in itertools.permutations((1, 2, 3)):
        text = Dialogue().ask("q?", found(*numbers), "a")["ours"][-1].content
        labels = {
            label: int(number)
            for label, number in re.findall(r"<passage (\d+)>\n.*\nPassage number (\d+)", text)
        }
        line = next(line for line in text.splitlines() if line.startswith("Look in passage"))
        assert tuple(labels[label] for label in re.findall(r"\d+", line)) == numbers
        prompts[numbers] = text.replace(line, "")
    assert len(set(prompts.values())) == 1


def test_the_block_rule_serves_whole_blocks_and_never_the_last_token() -> None:
    cache = BlockCache(Words(), 4)

    def words(count: int) -> list[Message]:
        # The template adds one word before ("<|im_start|>user") and one after.
        return [Message("user", " ".join(map(str, range(count))))]

    assert cache.add(words(8)) == (10, 0)
    tokens, cached = cache.add(words(8))
    assert (tokens, cached) == (10, 8)
    # 12 tokens are three whole blocks; the last is computed again.
    cache.add(words(10))
    assert cache.add(words(10)) == (12, 8)
    # Another beginning shares nothing, whatever follows.
    assert cache.add([Message("system", "x"), *words(8)])[1] == 0


def test_orders_that_depend_on_documents_share_what_the_ranking_does_not() -> None:
    asks = [
        ask(*numbers, question=f"q{index}?")
        for index, numbers in enumerate(itertools.permutations((1, 2, 3)))
    ]
    measured = {one.order: one for one in compare_orders(asks, "same document", "section", Words(), [4])}
    assert set(measured) == set(orders())
    ranked, ours = measured["by rank"], measured["by document (ours)"]
    assert ours.tokens == ranked.tokens
    assert ours.cached > 1.5 * ranked.cached
    assert "| by rank |" in order_table(list(measured.values()))


def test_following_what_was_shown_uses_a_prefix_that_no_fixed_order_has() -> None:
    asks = [ask(1, 2, 3), ask(2, 3), ask(2, 3, 1, question="other?"), ask(0, 2, 3)]
    measured = {
        one.order: one.cached for one in compare_orders(asks, "same document", "section", Words(), [4])
    }
    assert measured["along what was shown"] > measured["by document (ours)"]


@pytest.mark.parametrize("name", sorted(orders()))
def test_an_order_loses_no_passage(name: str) -> None:
    order = orders()[name]
    for numbers in ((3, 1, 2), (2, 1), (1, 2, 3), (5,)):
        placed = order(found(*numbers))
        assert sorted(one.start for one in placed) == sorted(1000 * number for number in numbers)


def row(stream: str, layout: str, *, caching: bool, hit: float, first: float) -> Row:
    return Row(stream, "section", layout, caching, 3, 100, hit, first, first, 1.0)  # type: ignore[arg-type]


def test_goals_compare_the_right_rows() -> None:
    measured = [
        row("same document", "ours", caching=True, hit=0.6, first=100),
        row("same document", "rank order", caching=True, hit=0.5, first=300),
        row("same document", "ours", caching=False, hit=0.0, first=500),
        row("whole corpus", "ours", caching=True, hit=0.2, first=100),
        row("whole corpus", "ours", caching=False, hit=0.0, first=100),
    ]
    faster, hits = goals(measured)
    assert (faster.found, faster.met) == (5.0, True)
    assert (round(hits.found, 3), hits.met) == (1.2, False)
    assert table(measured).count("\n") == 6


def test_a_row_sums_tokens_and_takes_medians() -> None:
    def sample(first: float, cached: int) -> Sample:
        return Sample("conversation", "section", "ours", True, 1, 100, cached, cached, first, first + 10)

    [made] = rows([sample(30, 0), sample(10, 50), sample(20, 100)])
    assert (made.hit_rate, made.first_token_p50_ms, made.first_token_p95_ms) == (0.5, 20, 30)
    assert made.answers_per_min == pytest.approx(60_000 * 3 / 90)


@pytest.mark.anyio
async def test_the_run_asks_every_condition_of_both_servers(tmp_path: Path) -> None:
    asks = [ask(1, 2), ask(2, 1, question="other?"), ask(1, 2, stream="conversation")]
    asks.append(ask(2, 3, stream="conversation", turn=2, question="and?"))
    said: list[str] = []
    async with serve(FakeOpenAI()) as on, serve(FakeOpenAI()) as off:
        bench = Bench(on.url, off.url, tmp_path, Words(), block=BLOCK, max_tokens=4)
        await bench.warm_up()
        await bench.run(asks, said.append)
        await bench.aclose()
    assert len(said) == len(asks)
    # One layout less where there are no earlier turns; one more without a cache.
    assert len(bench.samples) == 2 * 4 + 2 * 5
    assert len(off.calls) == 1 + len(asks)
    salts = {json.dumps(call.body["cache_salt"]) for call in on.calls}
    assert len(salts) == 1 + 3 + 4
    measured = {(one.stream, one.layout, one.caching): one for one in rows(bench.samples)}
    ours = measured[("same document", "ours", True)]
    assert ours.hit_rate > measured[("same document", "rank order", True)].hit_rate
    assert ours.requests == 2


def test_questions_are_about_topics_that_exist() -> None:
    from pydoc_data.topics import topics

    assert set(QUESTIONS) <= set(topics)
    assert all(len(set(texts)) == len(texts) >= 5 for texts in QUESTIONS.values())
