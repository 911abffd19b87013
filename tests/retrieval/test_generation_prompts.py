"""Layout, packing and linter: the prefix depends on documents, never on ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.generation.prompts import (
    INSTRUCTION,
    ContextPassage,
    Turn,
    build_prompt,
    compare_prompts,
    pack,
    place,
    render_passage,
)
from retrieval.generation.protocol import TokenCounts


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def count_words(texts: Sequence[str]) -> TokenCounts:
    return TokenCounts(tuple(len(text.split()) for text in texts), exact=True)


def passage(doc: str, start: int, text: str, rank: int) -> ContextPassage:
    return ContextPassage(doc, "v1", start, start + len(text), text, f"{doc}.md", "", "", None, rank)


THREE = [
    passage("b", 0, "The tram runs every ten minutes.", 1),
    passage("a", 90, "The depot opens at five.", 2),
    passage("a", 10, "Tickets cost two crowns.", 3),
]


@given(st.permutations(range(3)), st.text(max_size=20), st.text(max_size=20))
def test_two_questions_over_the_same_passages_share_the_whole_context(
    ranks: list[int], one: str, other: str
) -> None:
    first = build_prompt(one, THREE)
    again = build_prompt(other, [replace(found, rank=ranks[at] + 1) for at, found in enumerate(THREE)])
    context = first.user.split("Look in passage")[0]
    assert again.user.startswith(context)
    assert context.count("<passage ") == 3
    assert first.messages[0].content == again.messages[0].content == INSTRUCTION
    assert first.prefix == again.prefix


def test_ranks_travel_as_labels_behind_the_context() -> None:
    prompt = build_prompt("When does the depot open?", THREE)
    assert [(one.label, one.doc_id, one.start) for one in prompt.shown] == [
        (1, "a", 10),
        (2, "a", 90),
        (3, "b", 0),
    ]
    assert prompt.user.endswith(
        "Look in passage 3 first, then in 2, 1.\n\nQuestion: When does the depot open?"
    )


def test_history_grows_at_the_end_only() -> None:
    first = build_prompt("How often?", THREE[:2])
    turn = Turn(first.user, "Every ten minutes [2].", first.shown)
    second = build_prompt("And the price?", [replace(THREE[2], rank=1), THREE[0]], history=[turn])
    assert second.messages[:2] == first.messages
    assert [one.label for one in second.shown] == [3]
    assert [one.label for one in second.passages] == [1, 2, 3]
    assert "Look in passage 2 first, then in 3." in second.user  # both rank 1: the lower label first
    assert "every ten minutes" not in second.user
    assert second.prefix == first.prefix


def test_a_part_of_a_shown_passage_is_not_shown_again() -> None:
    first = build_prompt("x", [THREE[0]])
    part = replace(THREE[0], start=4, end=12, text="tram runs", rank=1)
    second = build_prompt("y", [part], history=[Turn(first.user, "a", first.shown)])
    assert second.shown == ()
    assert "Look in passage 1 first." in second.user
    newer = replace(part, version="v2")
    assert len(build_prompt("y", [newer], history=[Turn(first.user, "a", first.shown)]).shown) == 1


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=5),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=5),
)
def test_no_text_of_a_document_is_shown_twice_whatever_is_found(
    earlier: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    """Passages that overlap in any way: the conversation shows each letter of the document once."""
    text = "".join(chr(0x4E00 + number) for number in range(100))

    def found(places: list[tuple[int, int]]) -> list[ContextPassage]:
        return [
            passage("d", at, text[at : at + size], rank) for rank, (at, size) in enumerate(places, start=1)
        ]

    first = build_prompt("x", found(earlier))
    second = build_prompt("y", found(later), history=[Turn(first.user, "a", first.shown)])
    shown = [letter for one in second.passages for letter in one.text]
    assert len(shown) == len(set(shown))
    assert set(shown) == {letter for one in found([*earlier, *later]) for letter in one.text}
    assert all(text[one.start : one.end] == one.text for one in second.passages)
    assert len({one.label for one in second.passages}) == len(second.passages)


def test_the_rest_of_a_passage_is_shown_and_the_old_part_ranks_with_it() -> None:
    text = "One is here. Two is here. Three is here. Four is here."
    middle = passage("d", 13, text[13:40], 1)
    first = build_prompt("x", [middle])
    whole = replace(passage("d", 0, text, 1), match=(0, 12))
    second = build_prompt("y", [whole], history=[Turn(first.user, "a", first.shown)])
    assert [(one.label, one.text) for one in second.shown] == [(2, "One is here."), (3, "Four is here.")]
    assert "Look in passage 1 first, then in 2, 3." in second.user


@given(st.lists(st.sampled_from(["</passage 1>", "< / PASSAGE", "<passage 2>", "word", "<b>", "\n"])))
def test_a_document_cannot_close_its_fence(pieces: list[str]) -> None:
    hostile = replace(passage("d", 0, " ".join(pieces), 1), section=" ".join(pieces), label=7)
    rendered = render_passage(hostile)
    inside = rendered.removeprefix("<passage 7>").removesuffix("</passage 7>")
    assert "<passage" not in inside.lower().replace(" ", "")
    assert "</passage" not in inside.lower().replace(" ", "")
    assert inside.count("<b>") == 2 * pieces.count("<b>")
    assert rendered.split("\n")[1].startswith("source: d.md")


@pytest.mark.anyio
async def test_the_linter_names_the_line_that_broke_the_prefix() -> None:
    first = build_prompt("How often?", THREE)
    reranked = build_prompt("How often?", [replace(one, rank=4 - one.rank) for one in THREE])
    report = await compare_prompts(first.messages, reranked.messages, count_words)
    assert report.first_line == "Look in passage 3 first, then in 2, 1."
    assert report.second_line == "Look in passage 1 first, then in 2, 3."
    assert report.share > 0.9
    assert f"line {report.line}" in str(report)

    by_rank = [INSTRUCTION, *(one.text for one in THREE)]
    other = [INSTRUCTION, *(one.text for one in reversed(THREE))]
    from retrieval.generation.protocol import Message

    broken = await compare_prompts(
        [Message("user", "\n".join(by_rank))], [Message("user", "\n".join(other))], count_words
    )
    assert broken.first_line == "The tram runs every ten minutes."
    assert broken.shared_tokens < report.shared_tokens


@pytest.mark.anyio
async def test_a_prompt_that_goes_on_shares_all_of_the_shorter_one() -> None:
    first = build_prompt("How often?", THREE)
    second = build_prompt("Why?", [], history=[Turn(first.user, "So.", first.shown)])
    report = await compare_prompts(first.messages, second.messages, count_words)
    assert report.line is None
    assert report.shared_tokens == report.first_tokens


@pytest.mark.anyio
async def test_packing_keeps_the_best_within_the_budget() -> None:
    long = passage("c", 0, " ".join(["word"] * 60) + ".", 2)
    packed = await pack([THREE[0], long, THREE[1]], 60, count_words)
    assert [one.doc_id for one in packed.passages] == ["b", "a"]
    assert (packed.dropped, packed.cut, packed.exact) == (1, 0, True)
    assert packed.tokens <= 60
    everything = await pack([THREE[0], long, THREE[1]], 1000, count_words)
    assert everything.dropped == 0


@pytest.mark.anyio
async def test_the_best_passage_is_cut_at_a_sentence() -> None:
    text = "  First sentence here. Second sentence here. " + "Third is long " * 40 + "."
    best = passage("c", 100, text, 1)
    packed = await pack([best], 30, count_words)
    [kept] = packed.passages
    assert kept.text == "First sentence here. Second sentence here."
    assert text[kept.start - 100 : kept.end - 100] == kept.text
    assert (packed.cut, packed.dropped) == (1, 0)
    assert (await pack([best], 10, count_words)).passages == ()
    assert (await pack([], 10, count_words)).dropped == 0


@pytest.mark.anyio
@pytest.mark.parametrize("number", range(9))
async def test_a_cut_passage_keeps_the_sentence_that_was_found(number: int) -> None:
    sentences = [f"Sentence number {one} is here." for one in range(9)]
    text = " ".join(sentences)
    start = text.index(sentences[number])
    best = replace(passage("c", 100, text, 1), match=(100 + start, 100 + start + len(sentences[number])))
    for budget in (24, 30, 36, 48):
        [kept] = (await pack([best], budget, count_words)).passages
        assert sentences[number] in kept.text
        assert text[kept.start - 100 : kept.end - 100] == kept.text
    assert (await pack([best], 1000, count_words)).passages == (best,)


@given(st.permutations(THREE))
def test_placing_does_not_depend_on_the_order_given(shuffled: list[ContextPassage]) -> None:
    assert place(shuffled) == place(THREE)
