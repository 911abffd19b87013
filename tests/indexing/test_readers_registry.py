from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexing.errors import (
    EmptyFileError,
    MissingDependencyError,
    ReadError,
    UnsupportedFormatError,
)
from indexing.readers import PIPELINE_VERSION, media_type, read_file, suffix_of, supported_suffixes
from indexing.readers.builder import TextBuilder
from indexing.readers.tables import row_lines, write_table
from tests.fakes.files import MAX_BYTES, SAMPLES, check, extract

TESTED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("suffix", SAMPLES)
def test_every_sample_keeps_the_rules(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"Sample file{suffix.upper()}"
    path.write_bytes(SAMPLES[suffix]())
    first, again = extract(path), extract(path)
    assert all(item.text.strip() for item in first)
    assert first == again


@pytest.mark.parametrize("suffix", SAMPLES)
def test_damaged_bytes_give_a_typed_error_or_text(tmp_path: Path, suffix: str) -> None:
    """Cut anywhere or with a byte flipped: a ReadError that names the file, or an extraction by the rules."""
    whole = SAMPLES[suffix]()
    path = tmp_path / f"a{suffix}"
    step = max(1, len(whole) // 12)
    damaged = [whole[:cut] for cut in range(0, len(whole), step)]
    damaged += [
        whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(step // 2, len(whole), step)
    ]
    damaged += [b"\x00" * 100, bytes(range(256)) * 4]
    failed = 0
    for data in damaged:
        path.write_bytes(data)
        failed += _refused(path)
    assert failed >= 2


def _refused(path: Path) -> bool:
    """Whether the file is refused, and then by name; another exception fails the test."""
    try:
        extract(path)
    except ReadError as error:
        if path.name not in str(error):
            pytest.fail(f"{error} does not name {path.name}")
        return True
    return False


@pytest.mark.parametrize("name", ["a.exe", "a", "a.tar.gz", "a.gz", "a.pdf.gz", ".md"])
def test_unsupported(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    with pytest.raises(UnsupportedFormatError, match=r"accepted: .*\.docx.*\.pdf"):
        extract(path)
    assert suffix_of(path) == ""
    assert media_type(path) == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.PDF", "application/pdf"),
        ("a.b.md", "text/markdown"),
        ("a.jsonl.gz", "application/x-ndjson"),
        ("a.htm", "text/html"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)
def test_media_type(name: str, expected: str) -> None:
    assert media_type(Path(name)) == expected


def test_every_registered_reader_is_there() -> None:
    from indexing.readers.registry import _FORMATS

    assert all(callable(kind.reader()) for kind in _FORMATS.values())
    assert set(_FORMATS) <= supported_suffixes()
    assert {".jsonl.gz", ".csv.gz"} <= supported_suffixes()
    assert ".gz" not in supported_suffixes()
    assert PIPELINE_VERSION >= 1


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name in ("gone.txt", "folder.txt"):
        with pytest.raises(ReadError, match=name):
            extract(tmp_path / name)


@pytest.mark.parametrize("suffix", [".txt", ".md", ".csv", ".rst", ".py", ".jsonl"])
def test_blank_files_are_empty(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for body in (b"", b" \n\t\r\n", b"\xef\xbb\xbf"):
        path.write_bytes(body)
        with pytest.raises(EmptyFileError, match=path.name):
            extract(path)


def test_too_large(tmp_path: Path) -> None:
    for suffix in SAMPLES:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(SAMPLES[suffix]())
        with pytest.raises(ReadError, match="max_file_mb"):
            list(read_file(path, max_bytes=10))


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    path = tmp_path / "a.pdf"
    path.write_bytes(SAMPLES[".pdf"]())
    with pytest.raises(MissingDependencyError, match="pypdfium2"):
        extract(path)


def test_import_loads_no_parser() -> None:
    script = (
        "import sys, indexing.readers as r; r.supported_suffixes()\n"
        "heavy = {'lxml', 'docx', 'pptx', 'openpyxl', 'pypdfium2', 'numpy', 'yaml', 'markdown_it',"
        " 'charset_normalizer', 'llama_index'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"


TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\n\n#$`|-=> \r\t:."), max_size=200)
MARKED = st.lists(
    st.sampled_from(
        [
            "# A",
            "A",
            "===",
            "---",
            "```",
            "~~~",
            "$$",
            "$$x$$",
            "| a | b |",
            "|---|---|",
            "| 1 | 2 |",
            "> # Q",
            "- # L",
            "    code",
            "::",
            ".. code::",
            "   in",
            "",
            "",
            "中文。",
            "title: x",
        ]
    ),
    max_size=30,
).map("\n".join)


@TESTED
@given(body=TEXT | MARKED, suffix=st.sampled_from([".txt", ".md", ".rst", ".tex", ".py"]))
def test_text_formats_keep_the_rules_and_the_text(tmp_path: Path, body: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(body.encode())
    try:
        (found,) = extract(path)
    except ReadError:
        return
    plain = body.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert len(found.text) == len(plain)
    assert all(a == b or b == "\ufffd" for a, b in zip(plain, found.text, strict=True))


@TESTED
@given(
    body=TEXT,
    tags=st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<table>",
                "<tr>",
                "<td>",
                "<th>",
                "</table>",
                "<h1>",
                "</h1>",
                "<pre>",
                "</pre>",
                "<br>",
                "<li>",
                "<script>",
                "</script>",
                "x",
                "1",
            ]
        ),
        max_size=25,
    ),
)
def test_html_keeps_the_rules(tmp_path: Path, body: str, tags: list[str]) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(("".join(tags) + body).encode())
    _refused(path)


CELLS = st.lists(st.lists(st.text(max_size=6) | st.sampled_from(["2020", "1.5", ""]), max_size=4), max_size=6)


@TESTED
@given(steps=st.lists(st.tuples(st.sampled_from("phrut"), st.text(max_size=12), CELLS), max_size=15))
def test_builder_offsets_hold_for_any_content(steps: list[tuple[str, str, list[list[str]]]]) -> None:
    builder = TextBuilder()
    pages = 0
    for kind, text, cells in steps:
        if kind == "p":
            builder.page()
            pages += 1
        elif kind == "h":
            builder.heading(text, 1)
        elif kind == "r":
            write_table(builder, cells)
        elif kind == "u":
            builder.unit(text)
        else:
            builder.paragraph(text)
    found = builder.build()
    check(found)
    assert len(found.pages) == pages
    assert "\r" not in found.text


@TESTED
@given(rows=CELLS)
def test_no_cell_is_lost_in_a_table(rows: list[list[str]]) -> None:
    """Without header rows every word stays, as often as it was there."""
    wanted = sorted("".join("".join(row) for row in rows).split())
    found = " ".join(line.replace(" | ", " ") for line in row_lines(rows, header_rows=0))
    assert Counter("".join(found.split())) - Counter("|") == Counter("".join(wanted)) - Counter("|")
    assert len(list(row_lines(rows))) <= len(rows)


def test_reading_can_stop_early(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 1000)
    items = read_file(path, max_bytes=MAX_BYTES)
    assert next(items).text == "a"
    items.close()  # type: ignore[attr-defined]
    path.unlink()


def test_what_unfolds_past_memory_is_refused(tmp_path: Path) -> None:
    bombs = {
        "a.csv": ",".join(f"{n:0>100}x" for n in range(50)) + ("\n" + ",".join("1" * 50)) * 1000,
        "a.html": "<table><tr>"
        + "".join(f"<td rowspan=200>{n}" for n in range(300))
        + "<tr>" * 5000
        + "</table>",
        "a.json": '{"' + "k" * 5000 + '": [' + "1," * 5000 + "1]}",
    }
    for name, body in bombs.items():
        path = tmp_path / name
        path.write_text(body)
        with pytest.raises(ReadError, match=f"{name} unfolds to more"):
            list(read_file(path, max_bytes=len(body)))


def test_a_title_as_long_as_a_page_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# " + "word " * 1000)
    (found,) = read_file(path, max_bytes=MAX_BYTES)
    assert len(found.title) <= 301
    assert found.title.endswith("word…")
