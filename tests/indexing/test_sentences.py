from __future__ import annotations

import random
import string

import pytest

from indexing.records import Extraction, Heading
from indexing.sentences import sentences_of, split_sentences


def texts(text: str, **options) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text, **options)]


# Each case is the list of sentences; the text is their concatenation with one space.
ENGLISH = [
    ["Dr. Smith paid $3.14 for v1.2.3.", "He left."],
    ["We use BM25, e.g. in Lucene, i.e. Robertson's formula.", "It works."],
    ["See Fig. 3 and No. 5, pp. 12 and Eq. (4).", "The rest is clear."],
    ["Smith et al. (2010) found it.", "Jones et al. agree."],
    ["J. K. Rowling met George W. Bush Jr. in Washington.", "They talked."],
    ["She moved to the U.S. in 1999.", "The U.S. Army left."],
    ["She lives in the U.S.", "The law is clear."],
    ["Acme Inc. Chairman Tim Cook spoke.", "He works at Acme Inc.", "The company grew."],
    ["It opens at 5 p.m. on weekdays.", "He left at 6 a.m.", "The bar closed."],
    ["Cats vs. dogs, etc.", "Next topic."],
    ["No.", "I do not think so.", "Yes."],
    ["Mail a.b@example.com or visit https://example.com/a.b?c=d.e#f.", "Thanks!"],
    ["Is it true?", "Yes!", "Really?!", "Wow..."],
    ["It went on... and on.", "Then it stopped...", "Silence."],
    ['He said "Go."', "Then he left."],
    ['"Really?" he asked.', '"Yes!" she said.'],
    ["“It is done.”", "‘Good.’", "(He smiled.)", "Then he left."],
    ["The effect is real.[3][4]", "It was shown twice."],
    ["It is Plan B.", "The plan."],
    ["In Jan. 2020 and on Feb. 3 it rained.", "It stopped in March."],
    ["Use .NET or node.js now.", "They differ."],
    ["We chose x.", "iPhone sales rose."],
    ["a != b and c >= d hold.", "So does e."],
    ["A **bold claim.**", "A _quiet one._", "Done."],
    ["Note 4. Income taxes rose.", "See Note 4.", "They fell."],
    ["Panic! at the Disco played Sault Ste. Marie.", "It was c. 1990."],
    ["It costs $5.", "They paid $6.", "Cheap."],
]


@pytest.mark.parametrize("sentences", ENGLISH, ids=lambda case: case[0][:30])
def test_english(sentences):
    assert texts(" ".join(sentences)) == sentences


# Here the text is the concatenation without any space.
CHINESE = [
    ["第一句。", "第二句！", "第三句？", "第四句；", "第五句"],
    ["他说：“好。”", "然后走了。"],
    ["「你好吗？」", "他问。", "『走吧！』", "好。"],
    ['他说："好的。"', "然后走了。"],
    ["他走了。", '"你好。"', "她说。"],
    ["（见图1。）", "下一句。"],
    ["价格是3.14元，版本1.2.3。", "很便宜。"],
    ["真的吗？！", "是的！！", "好。"],
    ["他走了很远……", "天黑了。"],
    ["我……我不知道。", "真的。"],
    ["使用 Python 3.11 和 U.S. 的数据。", "完成。"],
    ["你好!", "我们走吧?", "好."],
    ["网址是https://a.b/c?d=e。", "请看。"],
]


@pytest.mark.parametrize("sentences", CHINESE, ids=lambda case: case[0][:12])
def test_chinese(sentences):
    assert texts("".join(sentences)) == sentences


def test_a_quoted_stop_before_a_comma_does_not_end_the_sentence():
    assert texts("「走吧！」，他说。好。") == ["「走吧！」，他说。", "好。"]


def test_english_and_chinese_mixed():
    text = "BM25 是什么？It is a ranking function. 它由 Robertson et al. 提出。"
    assert texts(text) == ["BM25 是什么？", "It is a ranking function.", "它由 Robertson et al. 提出。"]


def test_lower_case_text_is_cut_at_full_stops_too():
    text = "the first result. the second one, e.g. this. see fig. 3 for it."
    assert texts(text) == ["the first result.", "the second one, e.g. this.", "see fig. 3 for it."]


def test_a_text_without_stops_stays_one_sentence():
    text = "compact memories have flexible capacities a digital data storage system " * 5
    assert texts(text) == [text.strip()]


def test_single_line_breaks_do_not_end_a_sentence_and_blank_lines_do():
    text = "A sentence that\nwraps over lines.  And another\none\n\nA new paragraph\r\n \t\r\nThird"
    assert texts(text) == [
        "A sentence that\nwraps over lines.",
        "And another\none",
        "A new paragraph",
        "Third",
    ]


def test_list_items_stand_alone_and_keep_their_marker():
    text = (
        "Items:\n- first\n- second that\n  wraps\n• third\n\n"
        "1. One. Two.\n2) Two\n(a) A\n(b) B\n一、甲\n二、乙"
    )
    assert texts(text) == [
        "Items:",
        "- first",
        "- second that\n  wraps",
        "• third",
        "1. One.",
        "Two.",
        "2) Two",
        "(a) A",
        "(b) B",
        "一、甲",
        "二、乙",
    ]


def test_a_wrapped_number_is_no_list_item():
    assert texts("as we saw in Fig.\n3. It was born in\n12. Then on.") == [
        "as we saw in Fig.\n3.",
        "It was born in\n12.",
        "Then on.",
    ]


def test_markup_headings_rules_and_tables():
    text = "Title\n=====\n# Heading one\nText here.\n| a. B | c |\n|---|---|\n| d. E | f |\nAfter.\n***\nEnd."
    assert texts(text) == [
        "Title\n=====",
        "# Heading one",
        "Text here.",
        "| a. B | c |\n|---|---|",
        "| d. E | f |",
        "After.\n***",
        "End.",
    ]


def test_headings_given_by_the_reader_stand_alone():
    text = "Annual report\nRevenue grew. Income statement\nCosts fell."
    headings = [Heading(0, 1, "Annual report"), Heading(28, 2, "Income statement")]
    assert texts(text, headings=headings[:1]) == [
        "Annual report",
        "Revenue grew.",
        "Income statement\nCosts fell.",
    ]


def test_code_fences_are_whole():
    text = "Run this:\n```python\nx = 1. + 2\n\nprint(x). Done\n```\nIt prints. ~~~ is another."
    assert texts(text) == [
        "Run this:",
        "```python\nx = 1. + 2\n\nprint(x). Done\n```",
        "It prints.",
        "~~~ is another.",
    ]


def test_a_fence_that_is_never_closed_is_text():
    assert texts("Look.\n```\nIt is short.\n\nSo is this.")[-1] == "So is this."


def test_a_row_of_tildes_under_a_heading_is_its_underline():
    text = (
        "Value patterns\n~~~~~~~~~~~~~~\n\nOne is here. Two is there.\n\nLiteral patterns\n~~~~~~~~~~~~~~~~\n"
    )
    assert "One is here." in texts(text)
    assert "Two is there." in texts(text)


@pytest.mark.parametrize(
    "formula",
    ["$a. B = c$", "$$x! Y$$", r"\(a. B\)", r"\[ a. B \]", r"\begin{align*} a. B \\ c \end{align*}"],
)
def test_formulas_stay_inside_their_sentence(formula):
    text = f"We have {formula} for all x. Then we stop."
    assert texts(text) == [f"We have {formula} for all x.", "Then we stop."]


def test_a_displayed_formula_on_its_own_lines_stands_alone():
    block = "\\begin{equation}\nE. = mc^2\n\n\\end{equation}"
    assert texts(f"We get\n{block}\nwhere E is. Then.") == ["We get", block, "where E is.", "Then."]


def test_stray_delimiters_protect_nothing():
    text = r"It costs $5. Then \begin{x} opens. Then \( opens. Then $$ ends."
    assert texts(text) == ["It costs $5.", r"Then \begin{x} opens.", r"Then \( opens.", "Then $$ ends."]


def test_units_on_their_own_lines_are_sentences_and_others_stay_inside():
    text = "Before. Row\nCash. 12\t13. X\nAfter this y = 1. Z is here."
    row = text.index("Cash"), text.index("\nAfter")
    inline = text.index("y = "), text.index(" is here")
    assert texts(text, units=[row, inline]) == [
        "Before.",
        "Row",
        "Cash. 12\t13. X",
        "After this y = 1. Z is here.",
    ]


def test_pages_end_a_sentence_unless_it_goes_on():
    text = "First slide Second slide goes\non here. Third"
    assert texts(text, pages=[0, 12, 31]) == ["First slide", "Second slide goes\non here.", "Third"]
    assert texts("价格上涨了百分之十", pages=[0, 4]) == ["价格上涨了百分之十"]


def test_long_sentences_are_cut_at_clauses():
    text = "the first clause stands here; the second clause stands, the third goes on and on"
    assert texts(text, max_chars=40) == [
        "the first clause stands here;",
        "the second clause stands,",
        "the third goes on and on",
    ]
    assert texts("一二三四五，六七八九十，甲乙丙丁", max_chars=8) == [
        "一二三四五，",
        "六七八九十，",
        "甲乙丙丁",
    ]
    assert texts("x" * 25, max_chars=10) == ["x" * 10, "x" * 10, "x" * 5]


def test_numbers_are_not_cut_at_their_commas():
    assert texts("sum 1,234,567,890 units", max_chars=18) == ["sum 1,234,567,890", "units"]


def test_a_formula_is_not_cut_when_a_cut_before_it_will_do():
    assert texts("some words before $a + b + c + d$ after", max_chars=25) == [
        "some words before",
        "$a + b + c + d$ after",
    ]


def test_a_piece_without_words_joins_its_neighbour():
    assert texts("***\n\nHello.\n\n---\n\n👍\n\nBye.") == ["***\n\nHello.\n\n---\n\n👍", "Bye."]
    assert texts("...") == ["..."]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("架构如下。![架构图](a.png)后面的话。", ["架构如下。", "![架构图](a.png)后面的话。"]),
        ("文字![图](a.png)。", ["文字![图](a.png)。"]),
        ("See this! ![a page](a.png) Then more.", ["See this!", "![a page](a.png) Then more."]),
        ("Before.\n\n![Two. Words!](a.png)\n\nAfter.", ["Before.", "![Two. Words!](a.png)", "After."]),
        (
            "```\nrun\n```\n\n![图。一](https://e.org/a.png)",
            ["```\nrun\n```", "![图。一](https://e.org/a.png)"],
        ),
        ("Really![1] Yes.", ["Really![1]", "Yes."]),
    ],
)
def test_an_image_is_whole_and_its_mark_ends_no_sentence(text, sentences):
    assert texts(text) == sentences


@pytest.mark.parametrize("text", ["", " \n\t\r\n ", "\u3000"])
def test_nothing_but_white_space_has_no_sentences(text):
    assert split_sentences(text) == []
    assert sentences_of(Extraction(text=text)) == []
    assert sentences_of(Extraction(text=text), unit="document") == []


REPORT = Extraction(
    text="Annual report 2021\nIntro here. More.\nIncome statement\nRevenue grew.\nTax\nLow.\nRisks\nMany.",
    headings=(
        Heading(0, 1, "Annual report 2021"),
        Heading(37, 2, "Income statement"),
        Heading(68, 3, "Tax"),
        Heading(77, 2, "Risks"),
    ),
    pages=(0, 37, 77),
)


def test_sections_follow_the_heading_tree_and_pages_the_offsets():
    rows = [(s.text, s.section, s.page) for s in sentences_of(REPORT)]
    assert rows == [
        ("Annual report 2021", "Annual report 2021", 1),
        ("Intro here.", "Annual report 2021", 1),
        ("More.", "Annual report 2021", 1),
        ("Income statement", "Annual report 2021 > Income statement", 2),
        ("Revenue grew.", "Annual report 2021 > Income statement", 2),
        ("Tax", "Annual report 2021 > Income statement > Tax", 2),
        ("Low.", "Annual report 2021 > Income statement > Tax", 2),
        ("Risks", "Annual report 2021 > Risks", 3),
        ("Many.", "Annual report 2021 > Risks", 3),
    ]


def test_text_before_the_first_heading_has_no_section_and_no_pages_means_none():
    first, second = sentences_of(Extraction(text="Before.\n# Late\nx", headings=(Heading(10, 1, "Late"),)))[
        :2
    ]
    assert (first.section, first.page) == ("", None)
    assert (second.text, second.section) == ("# Late", "Late")


def test_a_skipped_level_and_a_heading_over_two_lines():
    extraction = Extraction(
        text="Deep\nA title\nof two lines\nBody.",
        headings=(Heading(0, 3, "Deep"), Heading(5, 1, "A title\nof two lines")),
    )
    rows = [(s.text, s.section) for s in sentences_of(extraction)]
    assert rows == [
        ("Deep", "Deep"),
        ("A title\nof two lines", "A title of two lines"),
        ("Body.", "A title of two lines"),
    ]


def test_ordinals_and_offsets():
    sentences = sentences_of(REPORT)
    assert [s.ordinal for s in sentences] == list(range(len(sentences)))
    assert all(REPORT.text[s.start : s.end] == s.text for s in sentences)


def test_the_unit_document_is_one_sentence():
    extraction = Extraction(text="  One. Two.\n\nThree. ", pages=(0, 5))
    (only,) = sentences_of(extraction, unit="document", max_chars=5)
    assert (only.ordinal, only.start, only.end, only.section, only.page) == (0, 2, 19, "", 1)
    assert only.text == "One. Two.\n\nThree."


@pytest.mark.parametrize("seed", range(3))
def test_wrapping_a_text_at_spaces_keeps_its_sentences(seed):
    source = random.Random(seed)
    flat = " ".join(sentence for case in ENGLISH for sentence in case)
    wrapped = "".join(
        "\n"
        if character == " " and source.random() < 0.1 and flat[place + 1] in string.ascii_letters
        else character
        for place, character in enumerate(flat)
    )
    assert [text.replace("\n", " ") for text in texts(wrapped)] == texts(flat)
