"""A written answer against its passages: labels, quotations, support."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.generation.citations import CheckedAnswer, check_answer, strip_thinking, support
from retrieval.generation.neutral import as_shown
from retrieval.generation.prompts import NOT_IN_DOCUMENTS, ContextPassage
from retrieval.generation.quotes import find_quote

DEPOT = "The depot opens at 5:40 on weekdays. Trams run every ten minutes until midnight."
FARES = "A single ticket costs 32 crowns. 学生票价为16克朗，需要出示证件。"


def passage(label: int, text: str, start: int = 100) -> ContextPassage:
    return ContextPassage(
        f"doc{label}", "v1", start, start + len(text), text, f"{label}.md", "", "", 3, label, label
    )


PASSAGES = [passage(1, DEPOT), passage(2, FARES, 7)]


def kinds(checked: CheckedAnswer) -> list[str]:
    return [flaw.kind for flaw in checked.flaws]


@pytest.mark.parametrize(
    "answer",
    [
        "Trams run every ten minutes until midnight [1]. A single ticket costs 32 crowns [2].",
        "Trams run every ten minutes until midnight. [1] A single ticket costs 32 crowns. [2]",
        "Trams run every ten minutes until midnight.[1]\n\nA single ticket costs 32 crowns.[2]",
    ],
)
def test_a_sound_answer_cites_exact_offsets(answer: str) -> None:
    checked = check_answer(answer, PASSAGES)
    assert kinds(checked) == []
    assert [one.label for one in checked.citations] == ["[1]", "[2]"]
    by_doc = {one.doc_id: one for one in PASSAGES}
    for cite in checked.citations:
        source = by_doc[cite.doc_id]
        assert source.text[cite.start - source.start : cite.end - source.start] == cite.quote
    assert checked.citations[0].quote == "Trams run every ten minutes until midnight."
    assert checked.citations[1].quote == "A single ticket costs 32 crowns."


def test_chinese_is_checked_by_its_characters() -> None:
    checked = check_answer("学生票价为16克朗[2]。", PASSAGES)
    assert kinds(checked) == []
    assert checked.citations[0].quote == "学生票价为16克朗，需要出示证件。"
    assert kinds(check_answer("老人可以免费乘坐地铁[2]。", PASSAGES)) == ["not supported"]


def test_a_label_that_does_not_exist_is_taken_out_and_flagged() -> None:
    checked = check_answer("Trams run every ten minutes [1][9].", PASSAGES)
    assert checked.text == "Trams run every ten minutes [1]."
    assert kinds(checked) == ["unknown label"]
    assert checked.flaws[0].text == "[9]"
    assert checked.text[: checked.flaws[0].start].endswith("[1]")


def test_a_sentence_without_a_label_is_flagged_with_its_place() -> None:
    checked = check_answer("Trams run every ten minutes [1]. Bicycles are welcome on board.", PASSAGES)
    [flaw] = checked.flaws
    assert flaw.kind == "no label"
    assert checked.text[flaw.start : flaw.end] == "Bicycles are welcome on board."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A single ticket costs 32 crowns [1].", ["not supported"]),  # the wrong passage
        ("A single ticket costs 34 crowns [2].", ["not supported"]),  # the wrong number
        ('It says "tickets are free for children" [2].', ["quote not found", "not supported"]),
        ('The depot "opens at 5:40 on weekdays" [1].', []),
        ("The depot “opens  at 5:40\non weekdays” [1].", []),
        ("[1]", []),
    ],
)
def test_what_does_not_hold_is_named(answer: str, expected: list[str]) -> None:
    assert kinds(check_answer(answer, PASSAGES)) == expected


@pytest.mark.parametrize(
    "answer", [NOT_IN_DOCUMENTS, f"{NOT_IN_DOCUMENTS}.", "Not in the documents", "", "<think>hm</think>"]
)
def test_not_in_the_documents_is_an_answer(answer: str) -> None:
    checked = check_answer(answer, PASSAGES)
    assert not checked.answered
    assert checked.citations == checked.flaws == ()


def test_thinking_is_stripped_even_when_it_never_ends() -> None:
    assert strip_thinking("<think>a\nb</think>\nYes [1].") == "Yes [1]."
    assert strip_thinking("Yes. <think>and on") == "Yes."


def test_support_by_hand() -> None:
    # stems: tram, run, everi, hour; "hour" is not in the source: 3 of 4
    assert support("Trams run every hour", DEPOT) == pytest.approx(0.75)
    assert support("[1]", "") == 0.0  # a number that does not stand there
    assert support("...", "") == 1.0


@given(st.text(alphabet='ab .[]129"“”\n。', max_size=60))
def test_no_text_breaks_it_and_labels_that_stay_exist(answer: str) -> None:
    import re

    checked = check_answer(answer, PASSAGES)
    assert {int(found) for found in re.findall(r"\[(\d{1,4})\]", checked.text)} <= {1, 2}
    for flaw in checked.flaws:
        assert 0 <= flaw.start <= flaw.end <= len(checked.text)


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("trams run every TEN minutes", "Trams run every ten\n   minutes"),
        ("run every ten minutes.", "run every ten\n   minutes"),
        ("the cafe\u0301 opens", "The café opens"),
        ("fi rst floor ②", "ﬁ rst floor 2"),
        ("学生票价为16克朗", "学生票价为１６克朗"),
        ("trams walk every ten minutes", None),
        ("opens ﬁ rst", "opens \u200b ﬁ rst"),
        (" . ", None),
    ],
)
def test_a_quotation_is_found_by_its_offsets(quote: str, found: str | None) -> None:
    text = (
        "At noon. Trams run every ten\n   minutes. The café opens \u200b ﬁ rst floor 2 学生票价为１６克朗。"
    )
    place = find_quote(quote, text)
    assert (None if place is None else text[slice(*place)]) == found


def test_what_the_prompt_showed_in_place_of_a_documents_characters_is_found() -> None:
    text = "Note: so it is [1].</passage 1> An un\u200bseen\u202e mark."
    shown = as_shown(text)
    assert shown != text
    for quote in ("so it is 〔1].‹/passage 1>", "An unseen mark"):
        assert quote in shown
        place = find_quote(quote, text)
        assert place is not None
        assert as_shown(text[slice(*place)]) == quote


def test_a_quoted_span_is_cited_as_it_stands_in_the_source() -> None:
    checked = check_answer('They say "run every TEN minutes" and "ticket costs 32 crowns" [1][2].', PASSAGES)
    assert [(one.label, one.quote, one.start) for one in checked.citations] == [
        ("[1]", "run every ten minutes", 100 + DEPOT.index("run every")),
        ("[2]", "ticket costs 32 crowns", 7 + FARES.index("ticket")),
    ]
    assert "quote not found" not in kinds(checked)


@given(st.text(max_size=60), st.integers(0, 60), st.integers(1, 20))
def test_what_is_copied_is_found_where_it_stands(text: str, at: int, size: int) -> None:
    copied = text[at : at + size]
    place = find_quote(copied, text)
    if place is not None:
        # The same words may stand earlier too.
        assert find_quote(text[slice(*place)], copied) is not None
    else:
        assert find_quote(copied, copied) is None
