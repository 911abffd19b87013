"""A service over a handful of documents in memory: every part small and deterministic.

The fake encoder hashes words; the fake searcher embeds through the real batch
worker and ranks sentences by shared words.  What is under test is serving.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from indexing.catalog.records import DocumentRecord, JobRecord, Window
from indexing.collection.protocol import CollectionInfo, CollectionSpec
from indexing.errors import NotFoundError, QueryError
from indexing.identity import point_id, point_prefix, split_point_id
from indexing.records import DEFAULT_TENANT, Embedding, Sentence
from indexing.settings import Settings, load_settings
from retrieval.generation.protocol import Generator
from retrieval.records import (
    Ranks,
    Receipt,
    Scores,
    SearchRequest,
    SearchResponse,
    SearchResult,
    Stage,
)
from serving.app import create_app
from serving.batching import BatchWorker
from serving.conversations import Conversations
from serving.jobs import JobRunner
from serving.metrics import Metrics
from serving.readiness import Readiness
from serving.schemas import EncodersReply
from serving.state import Service
from serving.tracing import Tracing
from tests.fakes.hashed_words import FakeEncoder, word_id, words

NOW = "2024-05-06T07:08:09.000+00:00"
DOCUMENTS = {
    "files": "Open a file with open. Close the file when you are done.",
    "a/b c?.txt": "A path may hold a slash. It may hold a question mark.",
    "目录/文件 1.txt": "打开文件用 open。关闭文件用 close。",
    "a/text": "An id may end like a view of another document.",
    "100%": "An id may hold a percent sign.",
}


class FakeCatalog:
    """Documents and jobs in dictionaries; thread-safe enough for tests."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = dict(DOCUMENTS)
        self.job_rows: dict[str, JobRecord] = {}
        self.payloads: dict[str, Mapping[str, object]] = {}
        self.closed = False

    def document(self, tenant: str, doc_id: str) -> DocumentRecord:
        if doc_id not in self.texts:
            raise NotFoundError(f"no document {doc_id!r}")
        text = self.texts[doc_id]
        return DocumentRecord(
            tenant=tenant,
            doc_id=doc_id,
            version=f"{sum(text.encode()):016x}",
            title=doc_id.title(),
            media_type="text/plain",
            sentences=len(self.sentences(tenant, doc_id)),
            chars=len(text),
            sources=(f"file:{doc_id}",),
            metadata={"year": 2024},
            indexed_at=NOW,
        )

    def documents(self, tenant: str, *, limit: int = 100, after: str | None = None) -> list[DocumentRecord]:
        ids = sorted(key for key in self.texts if after is None or key > after)
        return [self.document(tenant, key) for key in ids[:limit]]

    def count_documents(self, tenant: str) -> int:
        return len(self.texts)

    def text(self, tenant: str, doc_id: str, start: int | None = None, end: int | None = None) -> str:
        self.document(tenant, doc_id)
        return self.texts[doc_id][start or 0 : end]

    def sentences(self, tenant: str, doc_id: str) -> list[Sentence]:
        found = re.finditer(r"[^\s.。][^.。]*[.。]", self.texts[doc_id])
        return [
            Sentence(ordinal, match.start(), match.end(), match.group(), section=f"{doc_id} > part", page=1)
            for ordinal, match in enumerate(found)
        ]

    def windows(self, tenant: str, points: Sequence[str], size: int) -> list[Window | None]:
        return [self._window(tenant, *split_point_id(point), size) for point in points]

    def _window(self, tenant: str, prefix: str, ordinal: int, size: int) -> Window | None:
        versions = {doc_id: self.document(tenant, doc_id).version for doc_id in self.texts}
        prefixes = {point_prefix(tenant, *one): one for one in versions.items()}
        if prefix not in prefixes:
            return None
        doc_id, version = prefixes[prefix]
        shown = self.sentences(tenant, doc_id)[max(0, ordinal - size) : ordinal + size + 1]
        start, end = shown[0].start, shown[-1].end
        return Window(
            tenant=tenant,
            doc_id=doc_id,
            version=version,
            ordinal=ordinal,
            first=shown[0].ordinal,
            last=shown[-1].ordinal,
            start=start,
            end=end,
            text=self.texts[doc_id][start:end],
            spans=tuple((one.start, one.end) for one in shown),
            title=doc_id.title(),
            source=f"file:{doc_id}",
            sources=(f"file:{doc_id}",),
            section=shown[0].section,
            metadata={"year": 2024},
            pages=tuple(one.page for one in shown),
        )

    def create_job(
        self,
        tenant: str,
        kind: str,
        payload: Mapping[str, object],
        *,
        total: int = 0,
        job_id: str | None = None,
    ) -> JobRecord:
        record = JobRecord(
            id=job_id or f"job-{len(self.job_rows)}",
            tenant=tenant,
            kind=kind,
            state="queued",
            total=total,
            done=0,
            failed=0,
            sentences=0,
            errors=(),
            created_at=NOW,
            updated_at=NOW,
            message="",
        )
        self.job_rows[record.id] = record
        self.payloads[record.id] = payload
        return record

    def finish(self, job_id: str) -> None:
        self.job_rows[job_id] = replace(self.job_rows[job_id], state="succeeded")

    def job(self, tenant: str, job_id: str) -> JobRecord:
        if job_id not in self.job_rows:
            raise NotFoundError(f"no job {job_id!r}")
        return self.job_rows[job_id]

    def jobs(self, tenant: str, limit: int = 50) -> list[JobRecord]:
        return list(self.job_rows.values())[::-1][:limit]

    def job_states(self, limit: int) -> list[str]:
        return [job.state for job in self.job_rows.values()][::-1][:limit]

    def unfinished_jobs(self) -> bool:
        return any(job.state in ("queued", "running") for job in self.job_rows.values())

    def close(self) -> None:
        self.closed = True


class FakeCollection:
    def __init__(self, catalog: FakeCatalog) -> None:
        self.catalog = catalog
        self.error: Exception | None = None

    async def info(self) -> CollectionInfo:
        if self.error is not None:
            raise self.error
        points = sum(len(self.catalog.sentences(DEFAULT_TENANT, key)) for key in self.catalog.texts)
        spec = CollectionSpec(64, "d" * 16, "s" * 16, True)
        return CollectionInfo("memory", points, 0, 1, None, False, False, spec)

    async def count(self, *, tenant: str | None, filter: Any = None) -> int:
        return sum(len(self.catalog.sentences(DEFAULT_TENANT, key)) for key in self.catalog.texts)

    async def facet(
        self, key: str, *, tenant: str, filter: Any = None, limit: int = 20
    ) -> list[tuple[str | int | bool, int]]:
        return [(f"{key} {name}", 2) for name in sorted(self.catalog.texts)][:limit]

    async def close(self) -> None:
        return


class FakeSearcher:
    """Ranks sentences by the words they share with the question."""

    def __init__(self, catalog: FakeCatalog, worker: BatchWorker[str, Embedding]) -> None:
        self.catalog = catalog
        self.worker = worker
        self.degraded: tuple[str, ...] = ()
        self.cancelled = 0
        self.requests: list[SearchRequest] = []

    async def search(self, request: SearchRequest) -> SearchResponse:
        self.requests.append(request)
        if not request.query.strip():
            raise QueryError("the query is empty: ask with at least one word")
        try:
            embedding = await self.worker.submit(request.query)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        asked = set(embedding.sparse.indices)
        found = []
        for doc_id, text in self.catalog.texts.items():
            for sentence in self.catalog.sentences(request.tenant, doc_id):
                shared = len(asked & {word_id(word) for word in words(sentence.text)})
                if shared:
                    found.append((-shared, doc_id, sentence, text))
        found.sort(key=lambda item: (item[0], item[1], item[2].ordinal))
        results = tuple(
            _result(rank, -negative, self.catalog.document(request.tenant, doc_id), sentence, text)
            for rank, (negative, doc_id, sentence, text) in enumerate(found[: request.top_n or 10], 1)
        )
        stages = (Stage("embed", 1.25, {"terms": len(asked)}), Stage("rerank", 0.0, {"rerank": "off"}))
        return SearchResponse(results, Receipt(stages, self.degraded))


def _result(rank: int, shared: int, document: DocumentRecord, sentence: Sentence, text: str) -> SearchResult:
    doc_id = document.doc_id
    return SearchResult(
        id=point_id(document.tenant, doc_id, document.version, sentence.ordinal),
        doc_id=doc_id,
        source=f"file:{doc_id}",
        title=doc_id.title(),
        section=sentence.section,
        page=sentence.page,
        text=sentence.text,
        window=text,
        start=sentence.start,
        end=sentence.end,
        score=float(shared),
        ranks=Ranks(None, rank, rank, None),
        scores=Scores(None, float(shared), float(shared), None),
        window_start=0,
        window_end=len(text),
        highlights=((sentence.start, sentence.end),),
        highlight_pages=(sentence.page,),
        sources=(f"file:{doc_id}",),
        version=document.version,
        ordinal=sentence.ordinal,
    )


class FakeDeleter:
    def __init__(self, catalog: FakeCatalog) -> None:
        self.catalog = catalog

    async def delete(self, tenant: str, doc_id: str) -> None:
        self.catalog.document(tenant, doc_id)
        del self.catalog.texts[doc_id]


@dataclass
class Harness:
    """A service of fakes, and the fakes themselves."""

    service: Service
    settings: Settings
    encoder: FakeEncoder
    catalog: FakeCatalog
    collection: FakeCollection
    searcher: FakeSearcher
    deleter: FakeDeleter
    worker: BatchWorker[str, Embedding]
    metrics: Metrics = field(default_factory=Metrics)

    async def close(self) -> None:
        self.encoder.gate.set()
        await self.service.jobs.close()
        await self.worker.close(1.0)


async def make_harness(
    home: Path,
    *,
    delay_s: float = 0.0,
    generator: Generator | None = None,
    generation: Mapping[str, object] | None = None,
    **serving: object,
) -> Harness:
    """Build a service on ``home``; call it on the loop that will use it."""
    settings = load_settings(home=home, serving=serving, generation=generation or {})
    metrics = Metrics()
    encoder = FakeEncoder(delay_s)
    catalog = FakeCatalog()
    collection = FakeCollection(catalog)
    worker = BatchWorker[str, Embedding](
        "encode",
        encoder.embed_queries,
        max_batch=settings.serving.batch_size,
        max_waiting=settings.serving.queue_size,
        observe=metrics.observe_batch("encode"),
    )
    metrics.watch_queue("encode", lambda: worker.waiting)
    worker.start()
    searcher = FakeSearcher(catalog, worker)

    async def unfinished() -> bool:
        return catalog.unfinished_jobs()

    # Never started: tests of the runner itself make their own.
    jobs = JobRunner(["true"], unfinished, metrics)
    deleter = FakeDeleter(catalog)
    service = Service(
        settings=settings,
        catalog=catalog,  # type: ignore[arg-type]
        collection=collection,  # type: ignore[arg-type]
        searcher=searcher,
        encoders=EncodersReply(
            dense="hash",
            dense_fingerprint="d" * 16,
            dimensions=64,
            sparse="words",
            sparse_fingerprint="s" * 16,
            reranker=None,
        ),
        jobs=jobs,
        deleter=deleter,  # type: ignore[arg-type]
        readiness=Readiness(
            catalog,  # type: ignore[arg-type]
            collection,  # type: ignore[arg-type]
            worker.submit,
            generation=None if generator is None else generator.check,
            optional=frozenset({"generation"}),
        ),
        metrics=metrics,
        conversations=Conversations(home, days=30),
        generator=generator,
    )
    return Harness(service, settings, encoder, catalog, collection, searcher, deleter, worker, metrics)


def app_of(settings: Settings, service: Service, tracing: Tracing | None = None) -> FastAPI:
    """The application with its service in place, which else its lifespan would set."""
    app = create_app(settings, service, tracing)
    app.state.service = service
    return app


def client_to(app: FastAPI, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    """Speak to an application without a socket or its lifespan; what it raises is an answer of 500."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


def client_of(harness: Harness) -> httpx.AsyncClient:
    """Speak to the harness's own application."""
    return client_to(app_of(harness.settings, harness.service))
