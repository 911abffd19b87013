"""The searcher over an in-memory corpus whose scores can be worked out by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import numpy as np
import pytest

from indexing.errors import DeadlineError, EncoderError, FilterError, QueryError
from indexing.records import Embedding
from retrieval.records import SearchRequest, SearchResponse
from retrieval.reranker import RerankScores
from tests.fakes.corpus import FakeDocument, WordEncoders
from tests.fakes.search_bench import BIRDS, CASH, Bench, corpus, stage


def test_the_best_sentence_leads_with_ranks_and_raw_scores():
    response = Bench()("cash flow from operations", window_size=0, fusion="rrf")
    best = response.results[0]
    assert best.text == "Cash flow from operations was strong."
    assert best.ranks.sparse == 1
    assert best.scores.sparse == 4.0
    assert best.ranks.fused == 1
    assert best.score == best.scores.fused
    expected = 1 / (60 + best.ranks.dense) + 1 / (60 + best.ranks.sparse)
    assert best.score == pytest.approx(expected)
    assert best.scores.dense == pytest.approx(
        float(
            np.dot(
                WordEncoders().embed_queries(["cash flow from operations"])[0].dense,
                WordEncoders().embed_documents([best.text])[0].dense,
            )
        )
    )


def test_every_offset_points_at_what_it_says():
    bench = Bench()
    for query in ("cash", "swallow in spring", "现金", "board debt staff"):
        for size in (0, 1, 2, 5):
            for result in bench(query, window_size=size).results:
                text = bench.catalog.text("default", result.doc_id)
                assert text[result.start : result.end] == result.text
                assert text[result.window_start : result.window_end] == result.window
                for start, end in result.highlights:
                    assert result.window_start <= start < end <= result.window_end
                assert (result.start, result.end) in result.highlights
                assert len(result.highlight_pages) == len(result.highlights)


@pytest.mark.parametrize("seed", [20, 21])
def test_no_sentence_appears_twice(seed):
    rng = random.Random(seed)
    bench = Bench()
    vocabulary = sorted({word for text in (CASH, BIRDS) for word in text.lower().rstrip(".").split()})
    for _ in range(20):
        query = " ".join(rng.sample(vocabulary, rng.randint(1, 4)))
        shown: set[tuple[str, int]] = set()
        for result in bench(query, window_size=rng.randint(0, 4)).results:
            inside = {(result.doc_id, at) for at in range(result.window_start, result.window_end)}
            assert not shown & inside
            shown |= inside


def test_overlapping_hits_become_one_result_with_both_highlights():
    response = Bench()("cash flow balance", mode="sparse", window_size=1, filter={"doc_id": "cash"})
    assert len(response.results) == 1
    result = response.results[0]
    assert [CASH[start:end] for start, end in result.highlights] == [
        "Cash flow from operations was strong.",
        "The cash balance doubled.",
    ]
    assert stage(response, "windows").details["merged"] == 1


def test_sources_title_and_metadata_come_along():
    bench = Bench()
    cash = bench("cash flow operations").results[0]
    assert (cash.title, cash.source, cash.sources) == ("Annual report", "a.txt", ("a.txt", "b.txt"))
    assert bench("swallow").results[0].metadata == {"kind": "nature"}


def test_the_tenant_reaches_the_engine_and_others_stay_hidden():
    bench = Bench()
    assert all(result.doc_id != "secret" for result in bench("cash flow").results)
    assert [result.doc_id for result in bench("cash flow", tenant="other").results] == ["secret"]
    assert [search["tenant"] for search in bench.collection.searches] == ["default", "other"]


def test_a_filter_reaches_the_engine():
    bench = Bench()
    assert {result.doc_id for result in bench("cash", filter={"kind": "nature"}).results} == {"birds"}
    with pytest.raises(FilterError):
        bench("cash", filter={"tenant": "other"})


@pytest.mark.parametrize(("mode", "empty"), [("dense", "sparse"), ("sparse", "dense")])
def test_one_side_alone_keeps_its_own_order(mode, empty):
    bench = Bench()
    response = bench("cash flow", mode=mode, window_size=0)
    assert bench.collection.searches[0]["mode"] == mode
    ranks = [getattr(result.ranks, mode) for result in response.results]
    assert ranks == sorted(ranks)
    assert all(getattr(result.ranks, empty) is None for result in response.results)


def test_a_chinese_query_skips_the_dense_side_and_says_so():
    bench = Bench()
    response = bench("现金")
    assert bench.collection.searches[0]["mode"] == "sparse"
    assert response.results[0].text == "公司现金很多。"
    assert stage(response, "embed").details["coverage"] == 0.0
    assert "the dense side is skipped" in stage(response, "fuse").details["why"]
    assert response.receipt.degraded == ()


def test_dense_mode_without_a_dense_vector_finds_nothing_and_says_why():
    response = Bench()("现金", mode="dense")
    assert response.results == ()
    assert "does not know the query's script" in stage(response, "fuse").details["why"]


def test_the_receipt_lists_the_stages_in_order():
    response = Bench()("cash flow", fusion="rrf")
    assert [one.name for one in response.receipt.stages] == ["embed", "retrieve", "fuse", "windows", "rerank"]
    assert all(one.ms >= 0 for one in response.receipt.stages)
    assert stage(response, "retrieve").details["engine_ms"] == 0.01
    assert stage(response, "fuse").details["k"] == 60
    assert stage(response, "rerank").details == {"rerank": "off", "reason": "no reranker is configured"}


def test_a_version_that_is_not_live_is_dropped_and_counted():
    documents = corpus()
    documents[0].live = False
    response = Bench(documents)("cash flow from operations")
    assert all(result.doc_id != "cash" for result in response.results)
    assert stage(response, "windows").details["dropped_not_live"] == 7


def test_what_a_result_says_is_the_catalogues_whatever_the_payload_says():
    bench = Bench()
    expected = bench("cash flow from operations").results
    for _, _, payload in bench.collection.rows:
        payload |= {
            "start": 0,
            "end": 1,
            "text": "?",
            "ordinal": 0,
            "version": "other",
            "metadata": {"kind": "?"},
        }
    assert bench("cash flow from operations").results == expected
    assert not any(search["with_payload"] for search in bench.collection.searches)


def many(live: int, dead: int) -> list[FakeDocument]:
    gone = [FakeDocument("default", f"a{i:03d}", "Cash cash cash.", live=False) for i in range(dead)]
    return gone + [FakeDocument("default", f"b{i:03d}", "Cash here.") for i in range(live)]


def test_top_n_is_reached_past_hits_that_were_dropped():
    bench = Bench(many(live=8, dead=30))
    response = bench("cash", mode="sparse", top_k=10, top_n=5)
    assert len(response.results) == 5
    assert [search["top_k"] for search in bench.collection.searches] == [10, 30, 90]
    assert stage(response, "retrieve").details["fetches"] == 3


def test_a_short_collection_is_not_fetched_again():
    bench = Bench(many(live=3, dead=2))
    assert len(bench("cash", mode="sparse", top_n=5).results) == 3
    assert len(bench.collection.searches) == 1


def test_more_results_than_default_candidates_raise_top_k():
    bench = Bench(many(live=80, dead=0))
    assert len(bench("cash", top_n=70).results) == 70
    assert bench.collection.searches[0]["top_k"] == 70


def test_fewer_results_are_a_prefix_of_more():
    bench = Bench(many(live=20, dead=3))
    long = bench("cash here", top_n=15).results
    assert [one.id for one in bench("cash here", top_n=4).results] == [one.id for one in long[:4]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"query": " \n"}, "empty"),
        ({"query": "x" * 8001}, "8001 characters"),
        ({"query": "a\ud800"}, "Unicode"),
        ({"query": "a", "top_n": 0}, "top_n is 0"),
        ({"query": "a", "top_k": 1001}, "top_k is 1001"),
        ({"query": "a", "top_k": 5, "top_n": 6}, "larger than top_k"),
        ({"query": "a", "window_size": -1}, "window_size"),
        ({"query": "a", "mode": "vector"}, "accepted: hybrid, dense, sparse"),
        ({"query": "a", "fusion": "max"}, "accepted: rrf, dbsf, weighted"),
        ({"query": "a", "tenant": ""}, "tenant"),
    ],
)
def test_impossible_requests_are_refused_before_any_work(fields, message):
    bench = Bench()
    with pytest.raises(QueryError, match=message):
        bench(**fields)
    assert bench.collection.searches == []


def test_a_small_top_k_lowers_the_default_top_n():
    assert len(Bench(many(live=20, dead=0))("cash", top_k=3).results) == 3


def by_length(calls: list[list[str]] | None = None):
    """A reranker that prefers long windows."""

    async def rerank(query: str, texts: Sequence[str]) -> RerankScores:
        if calls is not None:
            calls.append(list(texts))
        logits = np.array([len(text) for text in texts], dtype=np.float32)
        return RerankScores(logits, tuple(len(text) > 60 for text in texts))

    return rerank


def test_the_reranker_reads_windows_and_decides_the_order():
    calls: list[list[str]] = []
    bench = Bench(rerank=by_length(calls))
    response = bench("cash flow", window_size=1)
    assert calls == [[result.window for result in sorted(response.results, key=lambda r: r.ranks.fused)]]
    assert [one.ranks.rerank for one in response.results] == list(range(1, len(response.results) + 1))
    assert [one.score for one in response.results] == [float(len(one.window)) for one in response.results]
    details = stage(response, "rerank").details
    assert details["rerank"] == "on"
    assert details["truncated"] == sum(len(one.window) > 60 for one in response.results) > 0


def test_equal_logits_are_ordered_by_id():
    async def flat(query: str, texts: Sequence[str]) -> RerankScores:
        return RerankScores(np.zeros(len(texts), dtype=np.float32), (False,) * len(texts))

    ids = [one.id for one in Bench(rerank=flat)("cash flow", window_size=0).results]
    assert len(ids) > 2
    assert ids == sorted(ids)


def test_only_the_candidates_are_scored_and_the_rest_follow():
    calls: list[list[str]] = []
    bench = Bench(many(live=12, dead=0), rerank=by_length(calls), candidates=4)
    response = bench("cash here", top_n=10)
    assert [len(texts) for texts in calls] == [4]
    assert [one.ranks.rerank for one in response.results] == [1, 2, 3, 4] + [None] * 6
    assert [one.ranks.fused for one in response.results[4:]] == [5, 6, 7, 8, 9, 10]


def test_the_reranker_sees_more_than_is_returned():
    calls: list[list[str]] = []
    bench = Bench(many(live=12, dead=0), rerank=by_length(calls), candidates=8)
    assert len(bench("cash here", top_n=2).results) == 2
    assert [len(texts) for texts in calls] == [8]


def test_a_request_can_turn_the_reranker_off():
    calls: list[list[str]] = []
    response = Bench(rerank=by_length(calls))("cash", rerank=False)
    assert calls == []
    assert stage(response, "rerank").details == {"rerank": "off", "reason": "the request turned it off"}
    assert response.receipt.degraded == ()


def test_a_reranker_that_fails_degrades_to_the_fused_order():
    async def broken(query: str, texts: Sequence[str]) -> RerankScores:
        raise EncoderError("logits are not finite")

    response = Bench(rerank=broken)("cash flow")
    assert response.receipt.degraded == ("rerank: logits are not finite",)
    assert [one.id for one in response.results] == [one.id for one in Bench()("cash flow").results]
    assert all(one.ranks.rerank is None for one in response.results)


@pytest.mark.parametrize(("setting", "timeout_s"), [(0.05, None), (60.0, 2.0)])
def test_a_reranker_that_hangs_degrades_within_its_time(setting, timeout_s):
    async def hang(query: str, texts: Sequence[str]) -> RerankScores:
        await asyncio.sleep(60)
        raise AssertionError("never reached")

    response = Bench(rerank=hang, timeout_s=setting)("cash flow", timeout_s=timeout_s)
    assert len(response.results) > 0
    assert "rerank: not done within" in response.receipt.degraded[0]


def test_a_defect_in_the_reranker_is_not_hidden():
    async def defect(query: str, texts: Sequence[str]) -> RerankScores:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Bench(rerank=defect)("cash flow")


def test_the_deadline_ends_a_search():
    bench = Bench()
    bench.delay_s = 60
    with pytest.raises(DeadlineError, match=r"0\.05 s"):
        bench("cash", timeout_s=0.05)


def test_cancellation_reaches_the_encoder():
    bench = Bench()
    seen: list[str] = []

    async def embed(query: str) -> Embedding:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        raise AssertionError("never reached")

    async def run() -> None:
        bench.searcher._embed_query = embed
        task = asyncio.create_task(bench.searcher.search(SearchRequest("cash")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert seen == ["cancelled"]


def test_concurrent_searches_equal_single_ones():
    bench = Bench()
    queries = ["cash", "swallow", "现金", "debt", "board staff", "spring"]

    async def together() -> list[SearchResponse]:
        return await asyncio.gather(*(bench.searcher.search(SearchRequest(query)) for query in queries))

    for query, response in zip(queries, asyncio.run(together()), strict=True):
        assert [one.id for one in response.results] == [one.id for one in Bench()(query).results]
