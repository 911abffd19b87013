"""Permutations: read, mended, and carried through a sliding window."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import TeacherAnswerError
from distill.records import Passage, Query
from distill.teachers import TeacherAnswer, TeacherSettings, open_teacher
from distill.teachers.listwise import shortened, windows
from distill.teachers.permutation import parse_permutation, without_thinking
from tests.fakes.teacher_server import FakeTeacherServer, log_odds

QUERY = Query("q", "how long does cooked rice keep in the fridge")


@pytest.mark.parametrize(
    ("text", "order", "missing", "doubled", "outside"),
    [
        ("[2] > [3] > [1]", (1, 2, 0), 0, 0, 0),
        ("[2]>[3]>[1].", (1, 2, 0), 0, 0, 0),
        ("2 > 3 > 1", (1, 2, 0), 0, 0, 0),
        ("【２】＞【3】＞【1】", (1, 2, 0), 0, 0, 0),
        ("[3], [2], [1]", (2, 1, 0), 0, 0, 0),
        ("[2] > [2] > [1]", (1, 0, 2), 1, 1, 0),
        ("[3] > [9] > [0] > [1]", (2, 0, 1), 1, 0, 2),
        ("[3]", (2, 0, 1), 2, 0, 0),
        ("", (0, 1, 2), 3, 0, 0),
        ("All three are fine.", (0, 1, 2), 3, 0, 0),
        ("Passage [1] is weak, so the order is [3] > [2] > [1]", (2, 1, 0), 0, 0, 0),
        ("First I had [1] > [2] > [3]. Corrected: [3] > [2] > [1]", (2, 1, 0), 0, 0, 0),
        ("<think>[1] > [2] > [3]</think>[3] > [1] > [2]", (2, 0, 1), 0, 0, 0),
        ("[1] > [2] > [3]</think>\n[3] > [1] > [2]", (2, 0, 1), 0, 0, 0),
        ("<think>[1] > [2] > [3] and then", (0, 1, 2), 3, 0, 0),
        ("[99999999999] > [2]", (1, 0, 2), 2, 0, 0),  # no passage has such a number
    ],
)
def test_an_answer_becomes_a_permutation(
    text: str, order: tuple[int, ...], missing: int, doubled: int, outside: int
) -> None:
    found = parse_permutation(text, 3)
    assert found.order == order
    assert (found.missing, found.doubled, found.out_of_range) == (missing, doubled, outside)
    assert found.mended == bool(missing or doubled or outside)


@given(st.text(alphabet="[]【】0123456789 >,\nab<think/>", max_size=200), st.integers(0, 30))
def test_any_text_gives_a_permutation(text: str, count: int) -> None:
    assert sorted(parse_permutation(text, count).order) == list(range(count))


@given(st.permutations(range(1, 12)))
def test_a_whole_permutation_needs_no_mending(order: list[int]) -> None:
    found = parse_permutation("Here: " + " > ".join(f"[{number}]" for number in order), 11)
    assert [index + 1 for index in found.order] == order
    assert not found.mended


def test_thinking_is_left_out() -> None:
    assert without_thinking("<think>a</think>b") == "b"
    assert without_thinking("<think>a</think>b<think>c</think>d") == "d"
    assert without_thinking("b<think>c") == "b"


@given(st.integers(0, 300), st.integers(2, 50), st.integers(1, 50))
def test_windows_reach_from_the_end_to_the_front(count: int, window: int, step: int) -> None:
    step = min(step, window)
    found = list(windows(count, window, step))
    if count < 2:
        assert found == []
        return
    assert found[0][1] == count
    assert found[-1][0] == 0
    assert all(end - start == min(window, count) for start, end in found)
    assert set().union(*(range(start, end) for start, end in found)) == set(range(count))
    assert all(later[0] < earlier[0] for earlier, later in itertools.pairwise(found))


def pool(count: int) -> list[Passage]:
    """Passages with every share of the query's words, shuffled in one fixed way."""
    words = ["long", "cooked", "rice", "keep", "fridge", "how"]
    passages = [Passage(f"p{i}", " ".join([*words[: i % 5], f"filler{i}"])) for i in range(count)]
    random.Random(5).shuffle(passages)
    return passages


def ranked(server: FakeTeacherServer, passages: list[Passage], **more: object) -> TeacherAnswer:
    settings = TeacherSettings.model_validate(
        {"kind": "listwise", "url": server.url, "model": server.model, **more}
    )

    async def go() -> TeacherAnswer:
        async with open_teacher(settings) as teacher:
            return await teacher.score(QUERY, passages)

    return asyncio.run(go())


def by_relevance(passages: list[Passage]) -> list[str]:
    return [one.doc_id for one in sorted(passages, key=lambda one: -log_odds(QUERY.text, one.text))]


def by_score(passages: list[Passage], answer: TeacherAnswer) -> list[str]:
    pairs = zip(answer.scores, passages, strict=True)
    return [one.doc_id for _, one in sorted(pairs, key=lambda pair: -pair[0])]


def test_one_window_is_the_models_own_order() -> None:
    passages = pool(12)
    with FakeTeacherServer() as server:
        answer = ranked(server, passages)
    assert by_score(passages, answer) == by_relevance(passages)
    assert sorted(answer.scores) == [-float(rank) for rank in range(12, 0, -1)]
    assert (answer.scale, answer.calls, answer.repairs) == ("rank", 1, 0)


def test_the_window_carries_the_best_to_the_front() -> None:
    passages = pool(45)
    with FakeTeacherServer() as server:
        answer = ranked(server, passages, window=20, step=10)
    # What a window of 20 carries 10 places at a time: the 10 best of all, in order.
    assert by_score(passages, answer)[:10] == by_relevance(passages)[:10]
    assert answer.calls == 4
    assert sorted(answer.scores) == [-float(rank) for rank in range(45, 0, -1)]


def test_more_passes_bring_more_into_order() -> None:
    passages = pool(15)
    with FakeTeacherServer() as server:
        once = ranked(server, passages, window=6, step=3)
        often = ranked(server, passages, window=6, step=3, passes=4)
    best = by_relevance(passages)
    assert by_score(passages, once) != best
    assert by_score(passages, often) == best
    assert often.calls == 4 * once.calls


def test_mended_answers_are_counted() -> None:
    passages = pool(25)
    with FakeTeacherServer(messy=True) as server:
        answer = ranked(server, passages, window=20, step=10)
    assert (answer.calls, answer.repairs) == (2, 2)
    assert sorted(answer.scores) == [-float(rank) for rank in range(25, 0, -1)]


def test_an_answer_without_an_order_is_no_label() -> None:
    with FakeTeacherServer("gibberish") as server:
        with pytest.raises(TeacherAnswerError, match=r"leaves out 5 of 5 passages: 'I would say"):
            ranked(server, pool(5))
        assert ranked(server, pool(5), max_missing_share=1.0).repairs == 1


def test_nothing_to_order_is_not_asked() -> None:
    with FakeTeacherServer() as server:
        assert ranked(server, []).scores == ()
        assert ranked(server, pool(1)).scores == (-1.0,)
        assert server.log == []


def test_fields_that_not_every_server_knows_are_sent_on_request_only() -> None:
    with FakeTeacherServer() as server:
        ranked(server, pool(3))
        ranked(
            server,
            pool(3),
            temperature=None,
            max_tokens_name="max_completion_tokens",
            thinking=False,
            cache_salt="s",
        )
    plain, full = server.log[0].body, server.log[1].body
    assert set(plain) == {"model", "messages", "max_tokens", "temperature"}
    assert set(full) == {"model", "messages", "max_completion_tokens", "chat_template_kwargs", "cache_salt"}
    assert full["chat_template_kwargs"] == {"enable_thinking": False}


def test_the_query_stands_before_the_passages_and_each_has_one_line() -> None:
    with FakeTeacherServer() as server:
        ranked(server, [Passage("a", "one\n[2] two"), Passage("b", "three " * 400)], max_passage_words=50)
    user = server.log[0].body["messages"][-1]["content"]
    lines = user.split("\n")
    assert lines[0] == f"Query: {QUERY.text}"
    assert "[1] one [2] two" in lines
    assert "[2] " + " ".join(["three"] * 50) in lines


def test_words_are_counted_in_both_scripts() -> None:
    assert shortened("a b  c\nd", 3) == "a b c"
    assert shortened("米饭可以放三天", 4) == "米饭可以"
    assert shortened("ok 米饭 fine", 2) == "ok 米"
    assert shortened("short", 20) == "short"


def test_the_card_names_what_the_window_does() -> None:
    base = TeacherSettings(kind="listwise", model="org/Judge-7B", url="http://t.test")
    card = open_teacher(base).card
    assert (card.kind, card.scale, card.model) == ("listwise", "rank", "org/Judge-7B")
    assert card.id.startswith("judge-7b-")
    assert card.parameters["window"] == 20
    wider = open_teacher(base.model_copy(update={"window": 30})).card
    assert wider.id != card.id
    assert "{passages}" in card.prompt
    assert card.prompt.index("{query}") < card.prompt.index("{passages}")
