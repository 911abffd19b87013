"""Mining: candidates of the live index, hard negatives, answers in disguise, held-out queries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from distill.cli import main
from distill.layouts import read_candidates
from distill.mining.miner import MiningReport, mine
from distill.mining.negatives import false_negatives, same_passage, sample_hard
from distill.mining.rows import MinedList, read_mined
from distill.mining.settings import MiningSettings
from distill.queries.files import QueryRow
from distill.records import Passage, Query
from retrieval.records import Ranks, Receipt, Scores, SearchRequest, SearchResponse, SearchResult

HANDBOOK = Path(__file__).resolve().parents[1] / "data" / "handbook"


class FakeSearch:
    """Gives 200 passages for every query, the second of them twice."""

    def __init__(self) -> None:
        self.requests: list[SearchRequest] = []

    async def search(self, request: SearchRequest) -> SearchResponse:
        self.requests.append(request)
        if request.query == "nothing":
            return SearchResponse((), Receipt(()))
        texts = [f"passage {number}" for number in range(200)]
        texts[2] = "PASSAGE  1."
        found = [result(rank, text) for rank, text in enumerate(texts, 1)]
        return SearchResponse(tuple(found[: request.top_n]), Receipt(()))


def result(rank: int, text: str) -> SearchResult:
    return SearchResult(
        id=f"id-{rank}",
        doc_id=f"doc{rank}",
        source="s",
        title="",
        section="",
        page=None,
        text=text,
        window=text,
        start=0,
        end=len(text),
        score=1 / rank,
        ranks=Ranks(rank, None, rank, None),
        scores=Scores(1 - rank / 1000, None if rank % 2 else 10 / rank, 1 / rank, None),
        window_start=0,
        window_end=len(text),
        highlights=(),
        sources=(),
    )


def row(text: str = "question", positive: Passage | None = None) -> QueryRow:
    return QueryRow(Query(f"id of {text}", text), "file", positive)


def run(rows, score=None, **settings) -> tuple[list[MinedList], MiningReport, FakeSearch]:
    search, report = FakeSearch(), MiningReport()

    async def collect() -> list[MinedList]:
        return [one async for one in mine(rows, search, MiningSettings(**settings), report, score)]

    return anyio.run(collect), report, search


def test_the_head_and_a_draw_from_below_without_reranking() -> None:
    (found,), report, search = run([row()], top_k=5, hard_negatives=4, from_rank=10, to_rank=30)
    assert found.ranks[:5] == (1, 2, 3, 4, 5)
    assert len(found.ranks) == 9
    assert all(10 <= rank <= 30 for rank in found.ranks[5:])
    assert list(found.ranks) == sorted(found.ranks)
    (request,) = search.requests
    assert (request.rerank, request.mode, request.top_n) == (False, "hybrid", 30)
    assert (report.queries, report.candidates, report.duplicates) == (1, 9, 1)
    assert found.candidates.passages[1] == Passage("doc2#0-9", "passage 1")
    assert found.candidates.passages[2].text == "passage 3"  # the repeated one is gone, not skipped over
    assert found.candidates.scores == found.signals["score"]


def test_the_best_of_each_side_are_candidates_too() -> None:
    (found,), _, search = run([row()], top_k=3, hard_negatives=0, each_side=5)
    # The dense side ranks as the fused list does; the sparse one knows doc2, doc4, doc6, doc8, doc10.
    assert [one.doc_id for one in found.candidates.passages] == [
        f"doc{number}#0-{len(f'passage {number - 1}')}" for number in (1, 2, 4, 5, 6, 8, 10)
    ]
    assert search.requests[0].top_n == 100  # deep enough for both sides


def test_the_draw_depends_on_the_seed_and_the_query_alone() -> None:
    rows = [row("one"), row("two")]
    first, _, _ = run(rows, seed=1)
    again, _, _ = run(rows[::-1], seed=1)
    assert first == again[::-1]
    assert first[0].ranks != first[1].ranks
    assert run(rows, seed=2)[0][0].ranks != first[0].ranks


def test_a_query_without_hits_is_counted_and_left_out() -> None:
    found, report, _ = run([row("nothing"), row("something")])
    assert [one.candidates.query.text for one in found] == ["something"]
    assert report.empty == 1


def test_a_known_answer_is_marked_or_added() -> None:
    overlapping = Passage("doc2#5-20", "another cut of it")
    missed = Passage("elsewhere#0-10", "far away")
    found, report, _ = run([row("a", overlapping), row("b", missed)], top_k=5, hard_negatives=0)
    assert [one.positives for one in found] == [("doc2#0-9",), ("elsewhere#0-10",)]
    assert [len(one.candidates.passages) for one in found] == [4, 5]
    assert math.isnan(found[1].signals["dense"][-1])
    assert report.added_positives == 1


def test_false_negatives_go_by_the_student_s_margin() -> None:
    def score(query: str, texts: Sequence[str]) -> list[float]:
        known = {"passage 0": 9.0, "passage 1": 8.5, "passage 3": 7.0, "passage 4": 1.0}
        return [known[text] for text in texts]

    rows = [row("a", Passage("doc1#0-9", "passage 0")), row("b")]
    (with_answer, without), report, _ = run(rows, score, top_k=5, hard_negatives=0, margin=1.0)
    assert [passage.text for passage in with_answer.candidates.passages] == [
        "passage 0",
        "passage 3",
        "passage 4",
    ]
    assert with_answer.positives == ("doc1#0-9",)
    assert with_answer.signals["student"] == (9.0, 7.0, 1.0)
    assert len(without.candidates.passages) == 4  # no known answer: nothing to compare with
    assert report.false_negatives == 1


def test_sampling_and_the_margin_by_hand() -> None:
    ranks = list(range(1, 101))
    drawn = sample_hard(ranks, low=20, high=100, count=10, seed="s")
    assert len(set(drawn)) == 10
    assert all(19 <= place <= 99 for place in drawn)
    assert sample_hard(ranks, low=20, high=100, count=10, seed="t") != drawn
    assert sample_hard(ranks, low=200, high=300, count=10, seed="s") == []
    assert false_negatives([5.0, 4.0, 4.01, 9.0, -1.0], [0], margin=1.0) == [2, 3]
    assert false_negatives([5.0, 9.0], [], margin=1.0) == []
    assert false_negatives([5.0, 4.5, 3.0], [0, 2], margin=1.0) == [1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Passage("d#0-10", "a"), Passage("d#9-20", "b"), True),
        (Passage("d#0-10", "a"), Passage("d#10-20", "b"), False),
        (Passage("d#0-10", "a b"), Passage("e#0-10", "b c"), False),
        (Passage("x", "The file."), Passage("y", "open the FILE now"), True),
        (Passage("x", ""), Passage("y", "open"), False),
    ],
)
def test_same_passage(one: Passage, other: Passage, same: bool) -> None:
    assert same_passage(one, other) is same
    assert same_passage(other, one) is same


def test_rows_are_read_back_and_are_plain_candidates(tmp_path: Path) -> None:
    found, _, _ = run([row("打开", Passage("far#0-3", "远")), row("b")], top_k=3, hard_negatives=2)
    path = tmp_path / "c.jsonl"
    path.write_text("".join(one.as_json() + "\n" for one in found), encoding="utf-8")
    assert [one.candidates for one in read_mined(path)] == read_candidates(path)
    for one, read in zip(found, read_mined(path), strict=True):
        assert (read.ranks, read.positives) == (one.ranks, one.positives)
        assert read.signals.keys() == one.signals.keys()
        for name, values in one.signals.items():
            assert read.signals[name] == pytest.approx(values, abs=1e-6, nan_ok=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handbook, indexed by the real command."""
    from indexing.cli import main as index

    folder = tmp_path_factory.mktemp("mining") / "home"
    assert index([str(HANDBOOK), "--home", str(folder)]) == 0
    return folder


def test_the_command_mines_the_live_index_and_refuses_held_out_queries(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["how many days of leave", "报销需要什么材料", "When are backups made?", "who books a room"]
    queries = tmp_path / "queries.jsonl"
    rows = [{"query_id": f"q{number}", "query": text} for number, text in enumerate(asked)]
    queries.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    by_text, by_id = tmp_path / "test.jsonl", tmp_path / "test.qrels"
    by_text.write_text(json.dumps({"query_id": "other", "query": "when are BACKUPS made"}) + "\n")
    by_id.write_text("q3 0 d1 1\n")
    arguments = ["mine", "--queries", str(queries), "--home", str(home), "--top-k", "3"]
    arguments += ["--hard-negatives", "2", "--from-rank", "4", "--to-rank", "12", "--window-size", "1"]
    held_out = ["--held-out", str(by_text), "--held-out", str(by_id)]
    outputs = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    for output in outputs:
        assert main([*arguments, *held_out, "--output", str(output)]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert "held out        2" in capsys.readouterr().out
    found = read_mined(outputs[0])
    assert [one.candidates.query.query_id for one in found] == ["q0", "q1"]
    for one in found:
        assert 3 <= len(one.candidates.passages) <= 5
        assert len({passage.text for passage in one.candidates.passages}) == len(one.candidates.passages)
    assert "leave" in found[0].candidates.passages[0].text.lower()
    assert set(found[0].signals) >= {"score", "dense", "sparse"}


def test_wrong_arguments_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queries = tmp_path / "q.txt"
    queries.write_text("a question\n")
    base = ["mine", "--queries", str(queries), "--output", str(tmp_path / "o.jsonl"), "--home", str(tmp_path)]
    assert main([*base, "--margin", "1"]) == 2
    assert "--student" in capsys.readouterr().err
    assert main([*base, "--from-rank", "9", "--to-rank", "5"]) == 2
    assert "from_rank" in capsys.readouterr().err
    (tmp_path / "empty.qrels").write_text("\n")
    assert main([*base, "--held-out", str(tmp_path / "empty.qrels")]) == 2
    assert "names no query" in capsys.readouterr().err
    assert main(base) == 1  # nothing is indexed there
    assert not (tmp_path / "o.jsonl").exists()
