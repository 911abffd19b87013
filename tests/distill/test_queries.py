"""Queries from files, from the service's log, from a language model; and which stay out."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from distill.cli import main
from distill.labelling.settings import LabelSettings
from distill.labelling.store import LabelStore
from distill.queries.files import read_queries
from distill.queries.generate import (
    GenerationReport,
    GenerationSettings,
    generate,
    parse_queries,
    why_dropped,
)
from distill.queries.held_out import read_held_out
from distill.queries.log import read_query_log
from distill.queries.passages import MAX_CHARS, MIN_CHARS, sample_passages
from distill.queries.text import normal, query_id, words
from distill.records import Passage, Query
from indexing.errors import InputError
from tests.fakes.service import FakeCatalog

SETTINGS = GenerationSettings(model="m")


def test_what_makes_two_queries_one() -> None:
    assert normal("  What is  BM25? ") == normal("what is bm25") == normal("WHAT IS ＢＭ２５！")
    assert normal("什么是 BM25？") == normal("什么是bm25") or words("什么是 BM25？") == words("什么是bm25")
    assert normal("what is bm25") != normal("what is bm 25")
    assert query_id("A b?") == query_id("a B")
    assert words("关闭 file_1") == ["关", "闭", "file_1"]


def test_files_of_queries(tmp_path: Path) -> None:
    text = tmp_path / "q.txt"
    text.write_text("how to open a file\n\nHow to open a file?\n42\twith an id\n???\n", encoding="utf-8")
    found = read_queries(text)
    assert [(row.query.query_id, row.query.text) for row in found] == [
        (query_id("how to open a file"), "how to open a file"),
        ("42", "with an id"),
    ]
    rows = [
        {"_id": 7, "text": "of BEIR"},
        {"query_id": "a", "query": "ours", "positive": {"doc_id": "d", "text": "t"}, "source": "generated"},
        {"query": "without an id"},
    ]
    packed = tmp_path / "q.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    found = read_queries(packed)
    assert [row.query.query_id for row in found] == ["7", "a", query_id("without an id")]
    assert found[1].positive == Passage("d", "t")
    again = tmp_path / "again.jsonl"
    again.write_text("".join(row.as_json() + "\n" for row in found), encoding="utf-8")
    assert read_queries(again) == found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("\n \n", "holds no query"),
        ('{"query_id": "a"}\n', r"line 1: a row needs"),
        ('{"query": "a b"}\n{"query": \n', "line 2: not JSON"),
        ('{"query": "a b", "positive": "text"}\n', "doc_id and text"),
    ],
)
def test_files_that_hold_none_are_refused(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "q.txt").write_text(body)
    with pytest.raises(InputError, match=message):
        read_queries(tmp_path / "q.txt")


def held_out(tmp_path: Path, name: str, body: str):
    (tmp_path / name).write_text(body, encoding="utf-8")
    return read_held_out([tmp_path / name])


def test_held_out_queries_are_known_by_id_and_by_text(tmp_path: Path) -> None:
    found = held_out(tmp_path, "c.jsonl", '{"query_id": "1", "query": "What is BM25?", "candidates": []}\n')
    assert found.refuses(Query("1", "something else")) == "id"
    assert found.refuses(Query("2", "what is ＢＭ25")) == "text"
    assert found.refuses(Query("2", "what is BM26")) is None
    usable, refused = found.split([Query("1", "a"), Query("2", "b"), Query("3", "What is BM25")])
    assert [query.query_id for query in usable] == ["2"]
    assert [(query.query_id, why) for query, why in refused] == [("1", "id"), ("3", "text")]


@pytest.mark.parametrize(
    ("name", "body", "ids", "texts"),
    [
        ("trec.qrels", "19 0 d1 2\n20 0 d2 0\n", {"19", "20"}, set()),
        ("beir.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n", {"query-id", "q1"}, set()),
        ("a.run", "19 Q0 d1 1 3.5 bm25\n", {"19"}, set()),
        ("queries.tsv", "19\tWhat is it?\n", {"19"}, {"what is it"}),
        ("beir.jsonl", '{"_id": "q1", "text": "How?"}\n', {"q1"}, {"how"}),
        ("labels.jsonl", '{"query_id": "q1", "query": "How?", "passages": []}\n', {"q1"}, {"how"}),
    ],
)
def test_layouts_of_held_out_files(tmp_path: Path, name: str, body: str, ids: set, texts: set) -> None:
    found = held_out(tmp_path, name, body)
    assert (found.ids, found.texts) == (ids, texts)


@pytest.mark.parametrize(
    "body", ["", "one two\n", '{"doc_id": "d"}\n', '{"query_id": "1", \n', "a b c d e\n"]
)
def test_a_held_out_file_of_no_known_layout_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(InputError):
        held_out(tmp_path, "x", body)


def test_the_log_gives_each_question_once_the_frequent_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "queries.jsonl"

    def line(query: str, tenant: str = "default") -> str:
        return json.dumps({"time": "t", "tenant": tenant, "query": query, "mode": "hybrid", "results": []})

    (tmp_path / "queries.jsonl.10").write_text(line("rare") + "\n")
    (tmp_path / "queries.jsonl.2").write_text(line("Open a file") + "\n" + line("other's", "other") + "\n")
    path.write_text("\n".join([line("open a file?"), '{"query": "cut o', line("open a file?"), line(" ")]))
    found = read_query_log(path, tenant="default")
    assert [row.query.text for row in found] == ["open a file?", "rare"]
    assert [row.query.text for row in read_query_log(path, tenant="default", min_count=2)] == ["open a file?"]
    assert [row.query.text for row in read_query_log(path, tenant="other")] == ["other's"]
    assert "query_log_skipped lines=1" in caplog.text
    with pytest.raises(InputError, match=r"serving\.query_log"):
        read_query_log(tmp_path / "none.jsonl", tenant="default")


def test_what_the_service_logs_is_what_is_read(tmp_path: Path) -> None:
    from retrieval.records import Receipt, SearchRequest, SearchResponse
    from serving.query_log import QueryLog

    async def log() -> None:
        log = QueryLog(tmp_path / "q.jsonl", "hybrid", max_bytes=200)
        for text in ("打开文件", "close it", "close it"):
            log.record(SearchRequest(text), SearchResponse((), Receipt(())))
        await log.close()

    anyio.run(log)
    assert (tmp_path / "q.jsonl.1").exists()
    found = read_query_log(tmp_path / "q.jsonl", tenant="default")
    assert [row.query.text for row in found] == ["close it", "打开文件"]


PASSAGE = "The archive is copied to the second site every night at two. Restores are tried once a quarter."


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("when are archives copied", None),
        ("how often is restoring tested", None),
        ("archive second site", None),
        ("copied to the second site every night at two", "copies the passage"),
        ("what does the author say about restores", "points at the passage"),
        ("这一段说了什么", "another language"),
        ("restores", "too short"),
        ("word " * 41, "too long"),
    ],
)
def test_queries_of_no_use_are_dropped(query: str, reason: str | None) -> None:
    assert why_dropped(query, PASSAGE, SETTINGS) == reason


def test_chinese_queries_are_judged_by_characters() -> None:
    passage = "每天凌晨两点把数据备份到第二机房，每季度演练一次恢复。BM25 不受影响。"
    assert why_dropped("备份多久做一次", passage, SETTINGS) is None
    assert why_dropped("BM25 会受影响吗", passage, SETTINGS) is None
    assert why_dropped("把数据备份到第二机房", passage, SETTINGS) == "copies the passage"
    assert why_dropped("how often are backups made", passage, SETTINGS) == "another language"


def test_answers_are_read_whatever_their_dress() -> None:
    answer = '<think>\nlet me\n</think>\n1. how to open\n2) "how to close"\n- 如何打开\n\nQ3: why\n***\n（2024 年报'  # noqa: E501
    assert parse_queries(answer) == ["how to open", "how to close", "如何打开", "why", "（2024 年报"]
    assert parse_queries("3 ways to open a file") == ["3 ways to open a file"]


class Chat(BaseHTTPRequestHandler):
    """Writes two queries from a passage's first and last words, and a repeated one."""

    bodies: list[dict]
    fail_first: bool

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.bodies.append(body)
        if self.server.failures > 0:
            self.server.failures -= 1
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        passage = body["messages"][1]["content"].split()
        text = f"1. about {passage[0]} {passage[-1]}\n2. what of {passage[-1]}\n3. same for all"
        answer = {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 5}}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def chat() -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (Chat,), {"bodies": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.failures = 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_generation_keeps_the_passage_and_asks_once(chat, tmp_path: Path) -> None:
    passages = [Passage(f"d#{i}-{i + 9}", f"alpha{i} beta gamma omega{i}") for i in range(5)]
    settings = GenerationSettings(url=chat.url, model="writer", per_passage=3)
    asking = LabelSettings(concurrency=3, first_wait_s=0.01)
    chat.failures = 1

    def run() -> tuple[list, GenerationReport]:
        report = GenerationReport()
        with LabelStore(tmp_path / "labels.db") as store:
            return anyio.run(generate, passages, settings, store, asking, report), report

    rows, report = run()
    assert [row.query.text for row in rows[:3]] == ["about alpha0 omega0", "what of omega0", "same for all"]
    assert all(row.positive in passages for row in rows)
    assert (report.asked, report.written, report.dropped) == (5, 11, {"repeated": 4})
    bodies = chat.RequestHandlerClass.bodies
    assert len(bodies) == 6  # one was refused for a moment
    assert "Write 3 different" in bodies[0]["messages"][0]["content"]
    again, second = run()
    assert (again, second.asked, len(bodies)) == (rows, 0, 6)


def test_a_failing_passage_is_reported(chat, tmp_path: Path) -> None:
    chat.failures = 10**6
    settings = GenerationSettings(url=chat.url, model="writer")
    report = GenerationReport()
    asking = LabelSettings(attempts=2, first_wait_s=0.001, longest_wait_s=0.001)
    with LabelStore(tmp_path / "labels.db") as store:
        rows = anyio.run(generate, [Passage("d", "text")], settings, store, asking, report)
    assert rows == []
    assert [doc_id for doc_id, _ in report.failed] == ["d"]


def test_passages_are_slices_that_do_not_overlap() -> None:
    catalog = FakeCatalog()
    catalog.texts = {
        f"d{i}": " ".join(f"Sentence {n} of document {i} says a thing." for n in range(60)) for i in range(4)
    }
    found = sample_passages(catalog, "default", 9, seed=3)
    assert 6 <= len(found) <= 9
    assert found == sample_passages(catalog, "default", 9, seed=3) != sample_passages(catalog, "default", 9)
    spans: dict[str, list[tuple[int, int]]] = {}
    for passage in found:
        doc_id, _, place = passage.doc_id.rpartition("#")
        start, end = map(int, place.split("-"))
        assert catalog.texts[doc_id][start:end] == passage.text
        assert MIN_CHARS <= end - start <= MAX_CHARS
        spans.setdefault(doc_id, []).append((start, end))
    for places in spans.values():
        ordered = sorted(places)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ordered))
    catalog.texts = {}
    assert sample_passages(catalog, "default", 9) == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.txt").write_text("one question\nanother question\n")
    (tmp_path / "held.tsv").write_text("9\tAnother question?\n")
    base = ["queries", "--output", str(tmp_path / "out.jsonl")]
    given = ["--from-file", str(tmp_path / "q.txt"), "--held-out", str(tmp_path / "held.tsv")]
    assert main([*base, *given]) == 0
    assert [row.query.text for row in read_queries(tmp_path / "out.jsonl")] == ["one question"]
    assert "held out                       1" in capsys.readouterr().out
    assert main(base) == 2
    assert main([*base, "--from-file", "a", "--from-log", "b"]) == 2
    assert main([*base, "--generate", "--home", str(tmp_path)]) == 2
    assert "generation.model" in capsys.readouterr().err
    assert main([*base, "--generate", "--model", "m", "--home", str(tmp_path)]) == 2
    assert "nothing is indexed" in capsys.readouterr().err
