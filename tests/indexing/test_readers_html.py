from __future__ import annotations

from pathlib import Path

import pytest

from indexing.errors import DamagedFileError, EmptyFileError
from indexing.records import Extraction
from tests.fakes.files import HTML, TABLE, TABLE_LINES, extract, extract_one, sections_of, units_of


def page(tmp_path: Path, body: str) -> Extraction:
    path = tmp_path / "a.html"
    path.write_bytes(body.encode())
    return extract_one(path)


def test_page(tmp_path: Path) -> None:
    found = page(tmp_path, HTML)
    assert found.title == "A page"
    assert found.metadata == {"language": "en"}
    assert sections_of(found) == [(1, "Report 2021"), (2, "Income")]
    assert found.text.split("\n\n") == [
        "Report 2021",
        "Revenue\nrose. See f(x).",
        "Income",
        "Revenue | Year 2021: 1.5 | Year 2020: 1.2",
        "if x:\n    go()",
        "tail text",
        "last",
    ]
    assert units_of(found) == ["Revenue | Year 2021: 1.5 | Year 2020: 1.2", "if x:\n    go()"]


def test_dropped_parts(tmp_path: Path) -> None:
    found = page(
        tmp_path,
        "<p>a<script>s</script>b<!-- c --><style>t</style></p><noscript>n</noscript><div hidden>h</div>"
        "<div style='display: none'>d</div><nav>v</nav><template>t</template><select><option>o</select>"
        "<h2>H<script>s</script>i</h2>",
    )
    assert found.text == "ab\n\nHi"


@pytest.mark.parametrize("header", ["th", "td"])
def test_table_header(tmp_path: Path, header: str) -> None:
    rows = "".join(
        "<tr>" + "".join(f"<{header if n == 0 else 'td'}>{cell}" for cell in row)
        for n, row in enumerate(TABLE)
    )
    assert units_of(page(tmp_path, f"<table>{rows}</table>")) == TABLE_LINES


def test_spans_are_filled_in(tmp_path: Path) -> None:
    found = page(
        tmp_path,
        "<table><tr><th>Region<th>City<th>Rain<tr><td rowspan=2>North<td>Ulm<td>7<tr><td>Kiel<td>9"
        "<tr><td colspan=2>All<td>16</table>",
    )
    assert units_of(found) == [
        "Region: North | City: Ulm | Rain: 7",
        "Region: North | City: Kiel | Rain: 9",
        "Region: All | City: All | Rain: 16",
    ]


def test_layout_table_is_walked(tmp_path: Path) -> None:
    found = page(tmp_path, "<table><tr><td><h1>Head</h1><p>One.</p><td><ul><li>x</ul></table>")
    assert sections_of(found) == [(1, "Head")]
    assert found.text == "Head\n\nOne.\n\nx"
    assert found.units == ()


def test_hostile_spans_are_bounded(tmp_path: Path) -> None:
    cell = "<td colspan=999999999 rowspan=999999999>x"
    found = page(tmp_path, f"<table><tr>{cell}{cell}<tr>{cell}<tr><td>y<td>z</table>")
    assert len(found.text) < 10_000


@pytest.mark.parametrize("tag", ["div", "span", "blockquote", "b"])
def test_deep_nesting_loses_nothing(tmp_path: Path, tag: str) -> None:
    found = page(tmp_path, "<p>first</p>" + f"<{tag}>" * 1500 + "deep" + "<p>last</p>")
    assert "first" in found.text
    assert "deep" in found.text
    assert "last" in found.text


def test_what_the_parser_would_drop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="2,048"):
        page(tmp_path, "<p>first</p>" + "<ul><li>" * 3000 + "deep")


def test_entities_are_characters_and_unknown_ones_expand_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    found = page(
        tmp_path,
        f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{secret}"><!ENTITY a "aaaa">]>'
        "<p>caf&eacute; &lt;b&gt; &x; &a;</p>",
    )
    assert "café <b>" in found.text
    assert "SECRET" not in found.text
    assert "aaaa" not in found.text.split("café")[1]


def test_xhtml_with_xml_declaration(tmp_path: Path) -> None:
    path = tmp_path / "a.xhtml"
    path.write_bytes(
        '<?xml version="1.0" encoding="gb2312"?><html xmlns="http://www.w3.org/1999/xhtml"><head>'
        "<title>书</title></head><body><p>正文</p></body></html>".encode("gb2312")
    )
    found = extract_one(path)
    assert (found.title, found.text) == ("书", "正文")


def test_mathml(tmp_path: Path) -> None:
    found = page(
        tmp_path,
        "<p>So <math><semantics><mi>E</mi><annotation encoding='application/x-tex'>E=mc^2</annotation>"
        "</semantics></math> holds; <math><mi>x</mi></math> too.</p>",
    )
    assert found.text == "So $E=mc^2$ holds; x too."


@pytest.mark.parametrize(
    "body", ["", "   ", "<!-- c -->", "<html><head><title>t</title></head><body></body></html>"]
)
def test_empty(tmp_path: Path, body: str) -> None:
    path = tmp_path / "a.html"
    path.write_text(body)
    with pytest.raises(EmptyFileError, match=r"a\.html"):
        extract(path)
