from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from indexing.errors import DamagedFileError, EmptyFileError, ReadError
from indexing.readers import read_file
from indexing.readers.tables import looks_like_header, row_lines
from tests.fakes.files import MAX_BYTES, TABLE, TABLE_LINES, extract, extract_one, units_of


def written(tmp_path: Path, name: str, body: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(body.encode() if isinstance(body, str) else body)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_dialects(tmp_path: Path, delimiter: str) -> None:
    body = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in TABLE)
    assert units_of(extract_one(written(tmp_path, "a.csv", body))) == TABLE_LINES


def test_csv_quotes_newlines_and_commas_in_numbers(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.csv", 'name;price\n"a ""b""\nc";1,50\nd;2,00\n'))
    assert units_of(found) == ['name: a "b" c | price: 1,50', "name: d | price: 2,00"]


def test_csv_without_header(tmp_path: Path) -> None:
    found = extract_one(written(tmp_path, "a.csv", "1,2\n3,4\n"))
    assert units_of(found) == ["1 | 2", "3 | 4"]


def test_equal_neighbours_are_both_said(tmp_path: Path) -> None:
    assert units_of(extract_one(written(tmp_path, "a.csv", "5,5,5\n"))) == ["5 | 5 | 5"]


def test_csv_of_a_header_alone_keeps_it(tmp_path: Path) -> None:
    assert extract_one(written(tmp_path, "a.csv", "name,price\n")).text == "name | price"


def test_csv_in_one_column(tmp_path: Path) -> None:
    assert units_of(extract_one(written(tmp_path, "a.csv", "first\nsecond, too\n"))) == [
        "first",
        "second | too",
    ]


def test_csv_with_an_endless_quote_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"a\.csv, line 3"):
        extract(written(tmp_path, "a.csv", 'a,b\n1,2\n3,"4\n'))


def test_rows_longer_and_shorter_than_the_header() -> None:
    rows = [["a", "b"], ["1"], ["1", "2", "3"], ["", ""]]
    assert list(row_lines(rows)) == ["a: 1", "a: 1 | b: 2 | 3"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["name", "age"], ["Bo", "5"], True),
        (["name", "name"], ["Bo", "5"], False),
        (["name", "5"], ["Bo", "6"], False),
        (["", "2020"], ["x", "1"], True),
        (["a", ""], ["b", "c"], False),
        (["a", "b"], None, False),
        (["a"], ["b"], False),
        (["x" * 200, "b"], ["1", "2"], False),
    ],
)
def test_looks_like_header(first: list[str], second: list[str] | None, expected: bool) -> None:
    assert looks_like_header(first, second) is expected


def test_jsonl_records(tmp_path: Path) -> None:
    lines = [
        {
            "_id": "d1",
            "title": "T",
            "text": "One.",
            "lang": "en",
            "tags": ["a", "b"],
            "metadata": {"year": 2020},
        },
        {"_id": 7, "text": "Two.", "none": None, "nested": {"dropped": 1}, "flag": True, "big": 2**70},
        {"text": "Three.", "score": 0.5},
        {"_id": "d4", "title": "Only a title", "text": ""},
        {"_id": "d5", "text": ""},
        {"text": "  "},
    ]
    body = "\ufeff" + "\r\n".join(json.dumps(line) for line in lines) + "\n\n"
    found = extract(written(tmp_path, "a.jsonl", body))
    assert [item.doc_id for item in found] == ["d1", "7", None, "d4", "d5"]
    assert [item.text for item in found] == ["One.", "Two.", "Three.", "Only a title", ""]
    assert found[0].title == "T"
    assert found[0].metadata == {"lang": "en", "tags": "a, b", "year": 2020}
    assert found[1].metadata == {"flag": True, "big": str(2**70)}
    assert found[2].metadata == {"score": 0.5}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "object"),
        ('{"title": "t"}', "text"),
        ('{"text": 5}', "text"),
        ('{"_id": "", "text": "x"}', "_id"),
        ('{"_id": ["a"], "text": "x"}', "_id"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_jsonl_names_the_bad_line_after_the_good_ones(tmp_path: Path, line: str, reason: str) -> None:
    items = read_file(written(tmp_path, "a.ndjson", '{"text": "ok"}\n\n' + line + "\n"), max_bytes=MAX_BYTES)
    assert next(items).text == "ok"
    with pytest.raises(DamagedFileError, match=f"line 3.*{reason}"):
        next(items)


def test_jsonl_streams(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl.gz", gzip.compress(b'{"text": "one"}\n' * 100_000 + b"{broken\n"))
    items = read_file(path, max_bytes=MAX_BYTES)
    assert [next(items).text for _ in range(3)] == ["one"] * 3


def test_what_cannot_be_stored_is_replaced(tmp_path: Path) -> None:
    found = extract(
        written(tmp_path, "a.jsonl", '{"_id": "\\ud800x", "text": "a\\u0000b\\udfff", "k\\ud800": "v"}')
    )
    assert (found[0].doc_id, found[0].text) == ("\ufffdx", "a\ufffdb\ufffd")
    assert found[0].metadata == {"k\ufffd": "v"}


def test_json_array_of_records(tmp_path: Path) -> None:
    body = json.dumps([{"_id": "1", "text": "One."}, {"text": "Two.", "k": 1}])
    assert [(item.doc_id, item.text) for item in extract(written(tmp_path, "a.json", body))] == [
        ("1", "One."),
        (None, "Two."),
    ]


def test_json_tree(tmp_path: Path) -> None:
    value = {
        "server": {"ports": [80, 81], "on": True, "none": None, "empty": {}},
        "rows": [{"name": "Bo", "age": 5}, {"name": "Al", "age": None}],
        "body": "A long text. " * 30,
    }
    found = extract_one(written(tmp_path, "a.json", json.dumps(value)))
    assert units_of(found) == [
        "server.ports[0]: 80",
        "server.ports[1]: 81",
        "server.on: true",
        "name: Bo | age: 5",
        "name: Al",
    ]
    assert "rows:" in found.text
    assert found.text.endswith("A long text.")


@pytest.mark.parametrize("body", ["{", '{"a": 1} x', "", "nope", "[" * 200_000])
def test_json_damaged(tmp_path: Path, body: str) -> None:
    with pytest.raises(DamagedFileError, match="not JSON"):
        extract(written(tmp_path, "a.json", body))


def test_json_without_values_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyFileError):
        extract(written(tmp_path, "a.json", "[{}, [], null]"))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.JSON.GZ", "a.txt.gz", "a.csv.gz", "a.html.gz"])
def test_gzip(tmp_path: Path, name: str) -> None:
    found = extract_one(written(tmp_path, name, gzip.compress(b'{"text": "hello"}')))
    assert "hello" in found.text


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.txt.gz"])
def test_gzip_bomb_is_refused_within_its_bound(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, gzip.compress(b'{"text": "hello"}\n' * 1_000_000))
    with pytest.raises(ReadError, match=r"holds more than 1\.0 MB"):
        list(read_file(path, max_bytes=1_000_000))


def test_gzip_cut_short_or_not_gzip(tmp_path: Path) -> None:
    data = gzip.compress(b"word " * 10_000)
    for body in (data[:-9], data[: len(data) // 2], b"plain text"):
        with pytest.raises(DamagedFileError, match="gzip"):
            extract(written(tmp_path, "a.txt.gz", body))


def test_a_file_of_exactly_the_bound_is_read(tmp_path: Path) -> None:
    body = b"x" * 1000
    for name, data in (("a.txt", body), ("a.txt.gz", gzip.compress(body))):
        path = written(tmp_path, name, data)
        assert next(read_file(path, max_bytes=1000)).text == "x" * 1000
        with pytest.raises(ReadError):
            list(read_file(path, max_bytes=999))
