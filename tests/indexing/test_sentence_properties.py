"""Any text at all: spans partition it, units stay whole, and the work is linear."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.records import Heading
from indexing.sentences import split_sentences

PIECES = st.sampled_from(
    [*" \n\n.!?。！？；…,，;:\"'“”「」()（）[]$|`#-*\\\f\r\t\u3000", "a", "B", "1", "是", "é", "👍",
     "Dr.", "e.g.", "U.S.", "Fig. 3", "```\n", "\n\n", "\n- ", "\n1. ", "\n(a) ", "| a |\n", "$x. Y$", "$$",
     "\\begin{a}", "\\end{a}", "https://a.b?c", "word ", "Word ", "是的", "……", "====\n", "\n# "]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=60).map("".join)


@st.composite
def layouts(draw):
    text = draw(TEXTS)
    places = st.integers(0, max(len(text), 1))
    cuts = sorted(draw(st.sets(places, max_size=6)))
    units = [pair for pair in zip(cuts[::2], cuts[1::2], strict=False) if pair[1] <= len(text)]
    headings = [
        Heading(place, draw(st.integers(1, 4)), text[place : place + 3].strip())
        for place in sorted(draw(st.sets(places, max_size=3)))
        if place < len(text)
    ]
    pages = sorted({0, *draw(st.sets(places, max_size=3))})
    return text, units, headings, pages


@settings(max_examples=300)
@given(layout=layouts(), max_chars=st.sampled_from([1, 5, 40, 2000]))
def test_spans_partition_the_text(layout, max_chars):
    """Ascending, disjoint, stripped, bounded, and every visible character in exactly one."""
    text, units, headings, pages = layout
    spans = split_sentences(text, units=units, headings=headings, pages=pages, max_chars=max_chars)
    reached = 0
    for start, end in spans:
        assert text[reached:start].strip() == ""
        assert start < end <= start + max_chars
        assert text[start:end] == text[start:end].strip()
        reached = end
    assert text[reached:].strip() == ""


@settings(max_examples=200)
@given(layout=layouts())
def test_no_sentence_ends_inside_a_unit(layout):
    text, units, headings, pages = layout
    spans = split_sentences(text, units=units, headings=headings, pages=pages, max_chars=10**6)
    for first, last in units:
        if text[first:last].strip():
            touched = [1 for start, end in spans if start < last and first < end]
            # A fence or formula that began before the unit keeps its own span.
            assert len(touched) == 1 or any(mark in text for mark in ("```", "$", "\\begin", "|"))


@given(first=TEXTS, second=TEXTS)
def test_what_follows_a_blank_line_changes_nothing_before_it(first, second):
    if any(mark in first + second for mark in ("```", "$", "\\begin", "\\end")):
        return  # an open formula or fence does reach over blank lines
    first += "\n\nA word."
    before = split_sentences(first)
    assert split_sentences(f"{first}\n\nb {second}")[: len(before)] == before


WORST = {
    "dots": ".", "parentheses": "((", "quotes": '"', "spaces": " ", "lines": "\n", "dollars": "$",
    "formulas": "$a ", "begins": "\\begin{a}", "brackets": "\\(", "fences": "```\n", "initials": "A. ",
    "bars": "| ", "full": "。", "items": "1.\n", "stops": '."', "references": ".[1]", "urls": "http://",
    "letters": "a", "commas": "，",
}  # fmt: skip


@pytest.mark.parametrize("unit", WORST.values(), ids=WORST.keys())
def test_time_is_linear(unit, count_steps):
    """Twice the text takes about twice the interpreter's steps, and never a pattern's explosion."""
    small, large = (unit * (size // len(unit)) for size in (20_000, 40_000))
    assert count_steps(small) * 3 + 2000 > count_steps(large)


@pytest.fixture
def count_steps():
    """Count line events of our own modules: a measure of work that no busy machine disturbs."""

    def count(text: str) -> int:
        steps = 0

        def trace(frame, event, argument):
            nonlocal steps
            if "indexing" not in frame.f_code.co_filename:
                return None
            steps += event == "line"
            return trace

        previous = sys.gettrace()
        sys.settrace(trace)
        try:
            split_sentences(text)
        finally:
            sys.settrace(previous)
        return steps

    return count


@pytest.mark.parametrize("unit", [".", "((((", "\\begin{a}", "$", "\n ", "| "])
def test_a_megabyte_of_one_pattern_comes_back(unit):
    """A quadratic pattern would take hours here; any end at all is the proof."""
    text = unit * (1_000_000 // len(unit))
    spans = split_sentences(text)
    assert sum(end - start for start, end in spans) <= len(text)
