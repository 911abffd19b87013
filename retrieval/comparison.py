"""Two generations of an index asked the same questions: how their answers differ."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import fmean, median
from time import perf_counter
from typing import Any

from indexing.catalog import Catalog, open_catalog
from indexing.catalog.generations import Generation
from indexing.errors import InputError, NotFoundError
from indexing.migration.sides import settings_of
from indexing.records import Embedding
from indexing.settings import Settings
from retrieval.opening import ModelThread
from retrieval.ranking_similarity import kendall, overlap, rank_biased_overlap
from retrieval.records import SearchRequest
from retrieval.search import Searcher

_MOST_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """A question; ``doc_id`` is the document it was drawn from, None for a real one."""

    text: str
    doc_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """One generation's answers to one question: sentences and documents, best first."""

    sentences: tuple[str, ...]
    documents: tuple[str, ...]
    exact_recall: float | None
    ms: float


@dataclass(frozen=True, slots=True)
class SideFigures:
    """One generation: ``known_item`` is the share of questions that find the document they came from.

    ``exact_recall`` is the graph's: of the dense side's true first k, what it finds.
    """

    number: int
    known_item: float | None
    exact_recall: float | None
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Means over the questions; ``overlap`` is Recall@k of the new ranking against the served one."""

    questions: int
    origin: str
    k: int
    overlap: float
    document_overlap: float
    kendall: float | None
    rank_biased_overlap: float
    served: SideFigures
    beside: SideFigures
    made_at: str
    furthest: tuple[tuple[str, float], ...]

    def stored(self) -> dict[str, Any]:
        """As the catalogue keeps it: without what people asked."""
        body = asdict(self)
        del body["furthest"]
        return body


class _Side:
    """One generation, open for questions."""

    def __init__(self, searcher: Searcher, models: ModelThread, number: int) -> None:
        self.number = number
        self._searcher = searcher
        self._models = models

    @classmethod
    async def open(cls, settings: Settings, catalog: Catalog, generation: Generation) -> _Side:
        from indexing.collection import open_collection
        from indexing.collection.protocol import check_spec
        from indexing.encoders import load_encoders
        from indexing.session import spec_of

        chosen = settings_of(settings, generation)
        average = catalog.generations.average(generation.number)
        encoders = await asyncio.to_thread(load_encoders, chosen.encoders, average_length=average)
        collection = await open_collection(chosen, None)
        check_spec(collection.spec, spec_of(encoders))
        models = ModelThread(encoders, None)
        searcher = Searcher(
            collection,
            catalog,
            models.embed_query,
            retrieval=chosen.retrieval,
            reranking=chosen.rerank,
            coverage=encoders.coverage,
            min_coverage=chosen.encoders.min_coverage,
            generation=generation.number,
        )
        return cls(searcher, models, generation.number)

    async def ask(self, question: Question, tenant: str, k: int) -> Answers:
        """Sentence by sentence, fused, without the second stage, which both would share."""
        began = perf_counter()
        request = SearchRequest(question.text, tenant=tenant, top_n=k, window_size=0, rerank=False)
        response = await self._searcher.search(request)
        ms = (perf_counter() - began) * 1000
        documents = tuple(dict.fromkeys(result.doc_id for result in response.results))
        sentences = tuple(result.id for result in response.results)
        return Answers(sentences, documents, await self._exact_recall(question, tenant, k), ms)

    async def _exact_recall(self, question: Question, tenant: str, k: int) -> float | None:
        vectors = await self._models.embed_query(question.text)
        if vectors.dense is None:
            return None
        dense = Embedding(vectors.dense, vectors.sparse)
        collection = self._searcher.collection
        found = await collection.search(dense, tenant=tenant, top_k=k, mode="dense")
        true = await collection.search(dense, tenant=tenant, top_k=k, mode="dense", exact=True)
        return overlap([hit.id for hit in true.dense], [hit.id for hit in found.dense], k)

    async def close(self) -> None:
        self._models.close()
        await self._searcher.collection.close()


async def compare_generations(
    settings: Settings, questions: Sequence[Question], *, tenant: str, k: int, origin: str
) -> Comparison:
    """Ask both generations every question and store what came out beside the new one.

    Raises:
        InputError: no migration is under way, its backfill is not complete, or there is no question.
    """
    if not questions:
        raise InputError("there is no question to compare by; name a file with --queries")
    catalog = await asyncio.to_thread(open_catalog, settings)
    try:
        served, beside = await asyncio.to_thread(_both, catalog)
        sides = [await _Side.open(settings, catalog, served)]
        try:
            sides.append(await _Side.open(settings, catalog, beside))
            answers = [[await side.ask(question, tenant, k) for side in sides] for question in questions]
        finally:
            for side in sides:
                await side.close()
        made = summarised(questions, answers, k, origin, (served.number, beside.number))
        await asyncio.to_thread(catalog.generations.note, beside.number, comparison=made.stored())
        return made
    finally:
        catalog.close()


def _both(catalog: Catalog) -> tuple[Generation, Generation]:
    pair = catalog.generations.pair()
    if pair.served is None or pair.beside is None:
        raise InputError("no migration is under way; begin one with: python -m indexing migrate start")
    debt = catalog.generations.debt()
    if debt.documents:
        raise InputError(
            f"generation {pair.beside.number} still lacks {debt.documents} documents; "
            "go on with: python -m indexing migrate start"
        )
    return pair.served, pair.beside


def summarised(
    questions: Sequence[Question],
    answers: Sequence[Sequence[Answers]],
    k: int,
    origin: str,
    numbers: tuple[int, int],
) -> Comparison:
    """Return the means; ``answers`` holds a pair, served and beside, for each question."""
    overlaps = [overlap(old.sentences, new.sentences, k) for old, new in answers]
    taus = [kendall(old.sentences, new.sentences) for old, new in answers]
    known = [tau for tau in taus if tau is not None]
    furthest = sorted(zip((one.text for one in questions), overlaps, strict=True), key=lambda pair: pair[1])
    return Comparison(
        questions=len(questions),
        origin=origin,
        k=k,
        overlap=fmean(overlaps),
        document_overlap=fmean(overlap(old.documents, new.documents, k) for old, new in answers),
        kendall=fmean(known) if known else None,
        rank_biased_overlap=fmean(rank_biased_overlap(old.sentences, new.sentences) for old, new in answers),
        served=_figures(numbers[0], questions, [pair[0] for pair in answers]),
        beside=_figures(numbers[1], questions, [pair[1] for pair in answers]),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        furthest=tuple(furthest[:5]),
    )


def _figures(number: int, questions: Sequence[Question], answers: Sequence[Answers]) -> SideFigures:
    drawn = [
        float(question.doc_id in answer.documents)
        for question, answer in zip(questions, answers, strict=True)
        if question.doc_id is not None
    ]
    exact = [answer.exact_recall for answer in answers if answer.exact_recall is not None]
    return SideFigures(
        number=number,
        known_item=fmean(drawn) if drawn else None,
        exact_recall=fmean(exact) if exact else None,
        p50_ms=median(answer.ms for answer in answers),
    )


def drawn_questions(catalog: Catalog, tenant: str, count: int, seed: int) -> list[Question]:
    """Return sentences of the tenant's documents, each from another document where there are enough."""
    chance = random.Random(seed)  # noqa: S311 - a sample, no secret
    stored: list[str] = []
    after: str | None = None
    while page := catalog.documents(tenant, limit=1000, after=after):
        stored.extend(record.doc_id for record in page if record.sentences)
        after = page[-1].doc_id
    picked = chance.sample(stored, min(count, len(stored)))
    picked += chance.choices(stored, k=count - len(picked)) if stored else []
    questions: list[Question] = []
    for doc_id in picked:
        try:
            text = chance.choice(catalog.sentences(tenant, doc_id)).text[:_MOST_CHARS].strip()
        except NotFoundError:  # deleted since it was listed
            continue
        if text:
            questions.append(Question(text, doc_id))
    return questions
