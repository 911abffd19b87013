from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.languages import coverage, script_of, script_shares

LATIN = frozenset({"Latin"})


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("aZéßığŐ", "Latin"),
        ("汉漢㐀𠀀々〇", "Han"),
        ("ひらがな", "Hiragana"),
        ("カタカナーｶ", "Katakana"),
        ("한국어ᄒ", "Hangul"),
        ("Кириллица", "Cyrillic"),
        ("Ελληνικάὰ", "Greek"),
        ("العربية", "Arabic"),
        ("ไทยहिन्दीעברית", "Other"),
    ],
)
def test_scripts_of_letters(text, script):
    letters = [character for character in text if unicodedata.category(character)[0] in "LN"]
    assert {script_of(character) for character in letters} == {script}


@pytest.mark.parametrize("character", [*"7 .,，。！", "\n", "€", "😀", "\u0301"])
def test_digits_punctuation_and_marks_have_no_script(character):
    assert script_of(character) is None


def test_shares_weigh_a_han_character_as_three_letters():
    # 4 Han characters * 3 = 12 against 4 + 2 + 9 = 15 Latin letters.
    shares = script_shares("什么是 BM25 的 term frequency")
    assert shares == {"Han": 12 / 27, "Latin": 15 / 27}


@pytest.mark.parametrize("text", ["", "42", "3.14 => 7!", "。，", "😀"])
def test_a_text_without_letters_is_covered_and_has_no_shares(text):
    assert script_shares(text) == {}
    assert coverage(text, LATIN) == 1.0


def test_a_model_of_every_script_covers_everything():
    assert coverage("什么", None) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain English", 1.0), ("纯中文", 0.0), ("naïve café", 1.0), ("BM25 和 DPR", (2 + 3) / (2 + 3 + 3))],
)
def test_coverage(text, expected):
    assert coverage(text, LATIN) == pytest.approx(expected)


@given(st.text())
def test_shares_sum_to_one_and_coverage_is_their_part(text):
    shares = script_shares(text)
    assert not shares or sum(shares.values()) == pytest.approx(1)
    assert coverage(text, frozenset(shares)) == pytest.approx(1)
    assert 0 <= coverage(text, LATIN) <= 1
    assert coverage(text, LATIN) == pytest.approx(shares.get("Latin", 0.0 if shares else 1.0))


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_ascii_short_path_gives_what_the_long_one_gives(text):
    assert script_shares(text) == ({"Latin": 1.0} if any(map(str.isalpha, text)) else {})
    with_latin = script_shares(text + "é")
    assert with_latin == {"Latin": 1.0}


def test_every_letter_of_a_block_named_after_its_script_gets_that_script():
    """Unicode's own names say the script: compare over the whole Basic Multilingual Plane."""
    names = {"LATIN": "Latin", "CYRILLIC": "Cyrillic", "GREEK": "Greek", "ARABIC": "Arabic",
             "HIRAGANA": "Hiragana", "KATAKANA": "Katakana", "HANGUL": "Hangul", "CJK": "Han"}  # fmt: skip
    wrong = []
    for code in range(0x10000):
        character = chr(code)
        if not character.isalpha():
            continue
        words = unicodedata.name(character, "").replace("HALFWIDTH ", "").replace("FULLWIDTH ", "").split()
        if words and words[0] in names and script_of(character) != names[words[0]]:
            wrong.append((hex(code), unicodedata.name(character), script_of(character)))
    assert wrong == []
