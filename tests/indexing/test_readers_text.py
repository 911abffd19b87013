from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.files import MARKDOWN, check, extract_one, sections_of, units_of


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_text_is_the_file_itself(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.txt", "\ufeffOne.\r\nTwo.\rThree.\n"))
    assert found.text == "One.\nTwo.\nThree.\n"
    assert found.doc_id is None
    assert found.units == ()


def test_markdown_structure(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.md", MARKDOWN))
    assert found.text == MARKDOWN
    assert found.title == "The report"
    assert found.metadata == {"tags": "a, b"}
    assert sections_of(found) == [(1, "Report 2021"), (2, "Income")]
    assert units_of(found) == [
        "---\ntitle: The report\ntags: [a, b]\n---",
        "```py\n# no heading\n\nx = 1\n```",
        "$$\nE = mc^2\n$$",
        "| a | b |",
        "| 1 | 2 |",
    ]


def test_markdown_title_is_the_first_heading(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.markdown", "# The `map` *function*\n\ntext\n"))
    assert found.title == "The map function"
    assert sections_of(found) == [(1, "The `map` *function*")]


def test_markdown_headings_in_quotes_lists_and_repeated(tmp_path: Path) -> None:
    text = "# A\n\nA\n\n> ## A\n\n- # A\n\nA\n=\n\n#\n\n####### not\n\n# B #\n"
    found = extract_one(written(tmp_path, "a.md", text))
    assert sections_of(found) == [(1, "A"), (2, "A"), (1, "A"), (1, "A"), (1, "B")]
    assert [found.text.count("\n", 0, heading.offset) for heading in found.headings] == [0, 4, 6, 8, 15]


@pytest.mark.parametrize(
    "front", ["---\n- a\n---\ntext\n", "---\na: [\n---\ntext\n", "---\n\ntext\n", "--- a\ntext\n"]
)
def test_what_is_no_front_matter_stays_text(tmp_path: Path, front: str) -> None:
    found = extract_one(written(tmp_path, "a.md", front))
    assert found.text == front
    assert found.metadata == {}
    assert not any("text" in unit for unit in units_of(found))


def test_dollar_amounts_are_no_formula(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.md", "It cost $$5 and then $$6 more.\n\n$$a$$\n"))
    assert units_of(found) == ["$$a$$"]


def test_rst(tmp_path: Path) -> None:
    text = (
        "=====\nTitle\n=====\n\nIntro::\n\n    code\n\n    more\n\nPart\n----\n\n"
        ".. code-block:: py\n\n   x = 1\n\n==== ====\ncell text\n==== ====\n\n"
        "Sub\n~~~\nText.\n\nOther\n-----\n"
    )
    found = extract_one(written(tmp_path, "a.rst", text))
    assert found.title == "Title"
    assert sections_of(found) == [(1, "Title"), (2, "Part"), (3, "Sub"), (2, "Other")]
    assert units_of(found) == ["    code\n\n    more", ".. code-block:: py\n\n   x = 1"]


def test_tex(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.tex", "\\title{On\n x}\\section{One}a\\subsection*{Two}b"))
    assert found.title == "On x"
    assert sections_of(found) == [(1, "One"), (2, "Two")]


def test_code_is_kept_in_blocks(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.py", "import os\n\n\ndef f():\n    return 1\n   \nx = 2"))
    assert units_of(found) == ["import os", "def f():\n    return 1", "x = 2"]
    assert found.metadata == {"language": "py"}


def test_long_unclosed_formula_is_quick_and_no_unit(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.md", "$$ " + "x $ y\n" * 20_000))
    check(found)
    assert found.units == ()
