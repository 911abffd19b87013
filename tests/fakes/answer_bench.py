"""An answer writer over a fake search and a scripted model."""

from __future__ import annotations

from collections.abc import Sequence

from indexing.settings import ExpansionSettings, GenerationSettings
from retrieval.records import Ranks, Receipt, Scores, SearchRequest, SearchResponse, SearchResult, Stage
from serving.answering.records import AnswerRequest, Event, Piece, Written
from serving.answering.writer import AnswerWriter
from tests.fakes.scripted_generator import ScriptedGenerator

TEXTS = ["Trams run every ten minutes.", "The depot opens at five.", "A ticket costs two crowns."]


def result(number: int, text: str, dense: float = 0.8, rerank: float | None = None) -> SearchResult:
    return SearchResult(
        id=f"id{number}",
        doc_id=f"doc{number}",
        source=f"{number}.md",
        title="",
        section="",
        page=None,
        text=text,
        window=text,
        start=10,
        end=10 + len(text),
        score=1.0 / (number + 1),
        ranks=Ranks(number + 1, None, number + 1, None),
        scores=Scores(dense, None, 1.0 / (number + 1), rerank),
        window_start=10,
        window_end=10 + len(text),
        highlights=((10, 10 + len(text)),),
        sources=(f"{number}.md",),
        highlight_pages=(None,),
        version="v1",
    )


async def no_windows(tenant: str, places: Sequence[object], size: int) -> list[None]:
    """A catalogue from which every document went meanwhile: passages stay what was found."""
    return [None] * len(places)


class Bench:
    def __init__(self, reply=None, results=None, generation=None, expansion=None, model=None) -> None:
        self.model = ScriptedGenerator(reply if reply is not None else "Trams run every ten minutes [1].")
        if model is not None:
            self.model = model
        self.results = tuple(result(n, t) for n, t in enumerate(TEXTS)) if results is None else results
        self.searches: list[SearchRequest] = []
        settings = GenerationSettings.model_validate(generation or {})
        self.writer = AnswerWriter(
            self.search, self.model, settings, ExpansionSettings.model_validate(expansion or {}), no_windows
        )

    async def search(self, request: SearchRequest) -> SearchResponse:
        self.searches.append(request)
        return SearchResponse(self.results, Receipt((Stage("retrieve", 1.0, {}),), ()))

    async def __call__(self, query: str = "How often?", **fields: object) -> tuple[list[Event], Written]:
        request = AnswerRequest(SearchRequest(query, tenant="acme"), **fields)
        events = [event async for event in self.writer.write(request)]
        assert [type(event) for event in events].count(Written) == 1
        assert isinstance(events[-1], Written)
        return events, events[-1]


def told(events: list[Event]) -> str:
    text = ""
    for event in events:
        if isinstance(event, Piece):
            text = event.text if event.restart else text + event.text
    return text


def stages(written: Written) -> list[str]:
    return [stage.name for stage in written.receipt.stages]
