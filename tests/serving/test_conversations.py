"""The store of conversations: turns, tenants, expiry, and what the next prompt repeats."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import NotFoundError
from retrieval.generation.prompts import ContextPassage, Turn, render_passage
from retrieval.generation.protocol import TokenCounts
from retrieval.records import Answer, Citation, Receipt
from serving.answering.history import condensed_turn, recent_turns
from serving.answering.records import Written
from serving.conversations import Conversations, said

CITE = Citation("[1]", "doc", "a.md", 3, 10, 14, "Tram")
PASSAGE = ContextPassage("doc", "v1", 0, 20, "Trams run. 电车。", "a.md", "A", "A > B", 3, 1, 1)


def written(text: str, *, generated: bool = True) -> Written:
    turn = Turn(f"prompt of {text}", text, (PASSAGE,)) if generated else None
    answer = Answer(text, (CITE,), "generated" if generated else "extractive")
    return Written(answer, (), Receipt((), ()), turn=turn, model="m" if generated else None)


@pytest.fixture
def store(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path, days=30)


def test_turns_come_back_as_they_were(store: Conversations, tmp_path: Path) -> None:
    made = store.create("acme")
    assert store.append("acme", made.id, "How often?", written("Every ten minutes [1].")) == 0
    assert store.append("acme", made.id, "为什么？", written("引用。", generated=False)) == 1
    store.close()
    first, second = Conversations(tmp_path, days=30).turns("acme", made.id)
    assert first.sent == Turn("prompt of Every ten minutes [1].", "Every ten minutes [1].", (PASSAGE,))
    assert first.citations == (CITE,)
    assert (second.sent, second.kind, second.question) == (None, "extractive", "为什么？")
    assert [one.content for one in said([first, second])] == [
        "How often?",
        "Every ten minutes [1].",
        "为什么？",
        "引用。",
    ]


def test_a_conversation_is_named_after_its_first_question(store: Conversations) -> None:
    made = store.create("acme")
    store.append("acme", made.id, "x" * 200, written("a"))
    store.append("acme", made.id, "second", written("b"))
    [row] = store.list("acme")
    assert (row.title, row.turns) == ("x" * 80, 2)


def test_another_tenant_finds_nothing(store: Conversations) -> None:
    made = store.create("acme")
    store.append("acme", made.id, "secret", written("secret"))
    assert store.list("other") == []
    for call in (
        lambda: store.turns("other", made.id),
        lambda: store.append("other", made.id, "q", written("a")),
        lambda: store.delete("other", made.id),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert len(store.turns("acme", made.id)) == 1


def test_deleting_takes_the_turns_along(store: Conversations) -> None:
    made = store.create("acme")
    store.append("acme", made.id, "q", written("a"))
    store.delete("acme", made.id)
    assert store.list("acme") == []
    with pytest.raises(NotFoundError):
        store.turns("acme", made.id)
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from turns").scalar() == 0


def test_what_nobody_used_goes(store: Conversations) -> None:
    old, fresh = store.create("acme", "old"), store.create("acme", "fresh")
    long_ago = (datetime.now(UTC) - timedelta(days=31)).isoformat(timespec="milliseconds")
    with store._engine.begin() as connection:
        connection.exec_driver_sql("update conversations set updated_at = ? where id = ?", (long_ago, old.id))
    assert [one.title for one in store.list("acme")] == ["fresh"]
    with pytest.raises(NotFoundError):
        store.turns("acme", old.id)
    assert store.expire() == 1
    assert store.expire() == 0
    assert [one.id for one in store.list("acme")] == [fresh.id]


def test_a_service_that_runs_for_long_deletes_what_is_old(
    store: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = store.create("acme", "old")
    long_ago = (datetime.now(UTC) - timedelta(days=31)).isoformat(timespec="milliseconds")
    with store._engine.begin() as connection:
        connection.exec_driver_sql("update conversations set updated_at = ? where id = ?", (long_ago, old.id))

    def rows() -> object:
        with store._engine.connect() as connection:
            return connection.exec_driver_sql("select count(*) from conversations").scalar()

    store.create("acme", "soon after")
    assert rows() == 2
    later = monotonic() + 3601
    monkeypatch.setattr("serving.conversations.monotonic", lambda: later)
    store.create("acme", "an hour later")
    assert rows() == 2


def test_turns_written_at_once_are_all_kept_in_order(store: Conversations) -> None:
    made = store.create("acme")
    ordinals: list[int] = []

    def add(number: int) -> None:
        ordinals.append(store.append("acme", made.id, f"q{number}", written(f"a{number}")))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ordinals) == list(range(8))
    assert len(store.turns("acme", made.id)) == 8


async def count_words(texts: Sequence[str]) -> TokenCounts:
    return TokenCounts(tuple(len(text.split()) for text in texts), exact=True)


@pytest.mark.anyio
async def test_the_older_half_goes_at_once_and_the_cut_stays() -> None:
    turns = [Turn(f"q{number} two three", "four five") for number in range(12)]  # 5 words each
    kept = [await recent_turns(turns[:end], 30, count_words) for end in range(13)]
    assert [len(one) for one in kept] == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 4, 5, 6]
    starts = [one[0].user for one in kept[1:]]
    assert len(set(starts)) == 3


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(0, 60))
def test_what_is_kept_fits_and_is_the_end(sizes: list[int], budget: int) -> None:
    import asyncio

    turns = [Turn("w " * size, "") for size in sizes]
    kept = asyncio.run(recent_turns(turns, budget, count_words))
    assert list(kept) == turns[len(turns) - len(kept) :]
    assert sum(len(turn.user.split()) for turn in kept) <= budget


@pytest.mark.anyio
async def test_an_answer_of_several_calls_is_repeated_with_what_it_cites() -> None:
    """Labels without their passage go, so that they cannot be taken for a later one's."""
    shown = [
        ContextPassage(
            f"d{label}", "v", 0, 30, "Four words are here. " + "x " * size, "s", "", "", None, label
        )
        for label, size in ((1, 0), (2, 0), (3, 90))
    ]
    shown = [replace(one, label=one.rank) for one in shown]
    ranked = [*shown[1:], shown[0]]
    turn = await condensed_turn("Why?", "So [1]. And so [3].", shown, ranked, 60, count_words)
    assert turn.user == f"{render_passage(shown[0])}\n\nLook in passage 1 first.\n\nQuestion: Why?"
    assert turn.assistant == "So [1]. And so ."
    assert turn.passages == (shown[0],)
    declined = await condensed_turn("Why?", "NOT IN THE DOCUMENTS", shown, ranked, 60, count_words)
    assert declined == Turn("Question: Why?", "NOT IN THE DOCUMENTS")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
