"""One source's share of the results, whatever it says: the cap, and where a passage is from."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.catalog.records import Window
from indexing.errors import QueryError
from indexing.records import Embedding
from indexing.settings import RerankSettings, RetrievalSettings
from retrieval.passages import Standing
from retrieval.records import SearchRequest, SearchResponse
from retrieval.reranker import RerankScores
from retrieval.search import Searcher
from retrieval.source_cap import capped, source_of
from retrieval.windows import Passage
from tests.fakes.corpus import FakeCatalog, FakeCollection, FakeDocument, WordEncoders

QUESTION = "how deep is the harbour of Overmouth"
HONEST = 6
POISONED = 60


def corpus(**metadata: str) -> list[FakeDocument]:
    """Honest documents that answer, and one source whose every document copies the question."""
    honest = [
        FakeDocument(
            "default", f"good-{n}", f"Overmouth has a harbour, {n} metres deep.", sources=(f"file:{n}",)
        )
        for n in range(HONEST)
    ]
    bad = [
        FakeDocument(
            "default",
            f"bad-{n}",
            f"{QUESTION} {QUESTION}: it is {n} miles.",
            sources=("https://evil.example/page",),
            metadata=metadata,
        )
        for n in range(POISONED)
    ]
    return [*honest, *bad]


def search(
    documents: Sequence[FakeDocument],
    *,
    rerank: object = None,
    settings: dict[str, object] | None = None,
    **fields: object,
) -> SearchResponse:
    encoders = WordEncoders()

    async def embed(query: str) -> Embedding:
        return encoders.embed_queries([query])[0]

    searcher = Searcher(
        FakeCollection(documents, encoders),  # type: ignore[arg-type]
        FakeCatalog(documents),
        embed,
        retrieval=RetrievalSettings(**(settings or {})),  # type: ignore[arg-type]
        reranking=RerankSettings(),
        rerank=rerank,  # type: ignore[arg-type]
    )
    return asyncio.run(searcher.search(SearchRequest(QUESTION, **fields)))  # type: ignore[arg-type]


def sources(response: SearchResponse) -> list[str]:
    return [result.source for result in response.results]


def test_without_a_cap_one_source_takes_every_place() -> None:
    assert set(sources(search(corpus()))) == {"https://evil.example/page"}


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_with_a_cap_it_takes_no_more_than_its_share(cap: int) -> None:
    response = search(corpus(), top_n=HONEST + cap, per_source_cap=cap)
    assert Counter(sources(response))["https://evil.example/page"] == cap
    assert len(response.results) == HONEST + cap
    stage = next(one for one in response.receipt.stages if one.name == "cap")
    assert stage.details["per_source"] == cap
    assert isinstance(stage.details["moved"], int)
    assert stage.details["moved"] >= POISONED - cap - 5


def test_the_candidates_grow_until_enough_sources_stand() -> None:
    response = search(corpus(), top_n=5, top_k=10, per_source_cap=1)
    assert len(set(sources(response))) == 5
    fetched = next(one for one in response.receipt.stages if one.name == "retrieve")
    assert fetched.details["fetches"] == 3


def test_a_reranker_that_is_fooled_too_is_held_to_the_cap() -> None:
    read: list[int] = []

    async def fooled(query: str, texts: Sequence[str]) -> RerankScores:
        read.append(sum("metres" in text for text in texts))
        return RerankScores([float("miles" in text) * 9 for text in texts], [False] * len(texts))

    response = search(corpus(), rerank=fooled, top_n=5, per_source_cap=1)
    assert sources(response)[0] == "https://evil.example/page"
    assert Counter(sources(response))["https://evil.example/page"] == 1
    assert read == [HONEST], "the honest ones come before the reranker, however many copies there are"


def test_where_one_source_is_all_there_is_its_passages_still_come() -> None:
    only = [one for one in corpus() if one.doc_id.startswith("bad")]
    plain, held = (search(only, per_source_cap=cap) for cap in (0, 1))
    assert [one.id for one in held.results] == [one.id for one in plain.results]


def test_the_setting_is_the_default_and_a_request_may_lift_it() -> None:
    settings: dict[str, object] = {"per_source_cap": 1}
    assert Counter(sources(search(corpus(), settings=settings, top_n=5)))["https://evil.example/page"] == 1
    assert len(set(sources(search(corpus(), settings=settings, per_source_cap=0)))) == 1
    assert "cap" not in [one.name for one in search(corpus()).receipt.stages]
    with pytest.raises(QueryError, match="per_source_cap"):
        search(corpus(), per_source_cap=-1)


def test_a_metadata_field_may_say_who_it_is_from() -> None:
    documents = corpus(author="mallory")
    spread = [
        FakeDocument(one.tenant, one.doc_id, one.text, sources=(f"file:{one.doc_id}",), metadata=one.metadata)
        for one in documents
    ]
    by_file = search(spread, per_source_cap=1, top_n=5)
    assert all(one.doc_id.startswith("bad") for one in by_file.results), "each file is a source"
    held = search(spread, per_source_cap=1, top_n=5, settings={"source_field": "author"})
    assert sum(one.doc_id.startswith("bad") for one in held.results) == 1


def standing(number: int, source: str) -> Standing:
    from retrieval.fusion import Fused

    hit = Fused(f"{number}", 1.0, {}, (1, None), (1.0, None))
    window = Window(
        tenant="t",
        doc_id=f"d{number}",
        version="v",
        ordinal=0,
        first=0,
        last=0,
        start=0,
        end=1,
        text="x",
        spans=((0, 1),),
        title="",
        source=source,
        sources=(source,),
        section="",
        metadata={},
    )
    return Standing(Passage((hit,), (window,), 0, 0, 0, 1, "x", ((0, 1),)), number + 1)


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(0, 5))
def test_the_cap_only_moves_and_keeps_each_part_s_order(letters: list[str], cap: int) -> None:
    passages = [standing(number, letter) for number, letter in enumerate(letters)]
    ordered, over = capped(passages, cap, None)
    assert sorted(one.rank for one in ordered) == [one.rank for one in passages]
    first, behind = ordered[: len(ordered) - over], ordered[len(ordered) - over :]
    for part in (first, behind):
        assert [one.rank for one in part] == sorted(one.rank for one in part)
    counts = Counter(source_of(one, None) for one in first)
    assert all(count <= cap for count in counts.values()) or cap == 0
    assert over == (sum(max(0, n - cap) for n in Counter(letters).values()) if cap else 0)


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://a.example/one?x", "a.example"),
        ("https://A.example:8443/two", "a.example"),
        ("file:/x/y.txt", "file:/x/y.txt"),
        ("upload:notes.md", "upload:notes.md"),
    ],
)
def test_pages_of_one_site_are_one_source(uri: str, source: str) -> None:
    assert source_of(standing(0, uri), None) == source
