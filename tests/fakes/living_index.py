"""A real index (catalogue, engine process, search) and, beside it, what it must hold.

Only the encoders are fakes.  Every change is made to both; :meth:`LivingIndex.check`
compares them.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.engine_process import send_signal
from indexing.catalog import open_catalog
from indexing.errors import InputError, NotFoundError
from indexing.ingest import TextItem, add_texts, delete_document
from indexing.ingest.reconcile import reindex
from indexing.migration.backfill import start
from indexing.migration.change import drop, switch
from indexing.records import Extraction
from indexing.session import Index
from indexing.settings import EncoderSettings, Settings, load_settings
from retrieval.records import SearchRequest
from retrieval.search import Searcher
from tests.fakes.two_generations import load_named

_TOP_N = 50
_DROP_S = 60.0


@dataclass(frozen=True)
class Place:
    """A document of a tenant."""

    tenant: str
    doc_id: str


class LivingIndex:
    """The index on ``home``, and ``live``: the sentences that each document has now."""

    def __init__(self, home: Path) -> None:
        self.settings: Settings = load_settings(
            home=home,
            collection={"idle_exit_s": 5.0, "optimize_after": 0, "timeout_s": 60.0},
            indexing={"lock_timeout_s": 60.0},
            rerank={"model": "none"},
            encoders={"dense": "old"},
        )
        self.live: dict[Place, list[str]] = {}
        self.dead: list[tuple[str, str]] = []  # (tenant, sentence) that some version had and none has
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("indexing.encoders.load_encoders", load_named)
        self._patch.setattr("indexing.migration.backfill.PAUSE_S", 0.0)
        self._open()

    def _open(self) -> None:
        self.index = Index(self.settings, open_catalog(self.settings))

    # ── operations ────────────────────────────────────────────────────────

    def write(self, documents: dict[Place, list[str]]) -> None:
        """Add documents, or replace those of the same ids."""
        for tenant in sorted({place.tenant for place in documents}):
            items = [
                TextItem(
                    f"text:{place.doc_id}",
                    Extraction(text=" ".join(sentences), doc_id=place.doc_id),
                    "text/plain",
                )
                for place, sentences in documents.items()
                if place.tenant == tenant
            ]
            report = add_texts(self.index, items, tenant=tenant)
            assert report.failures == []
        for place, sentences in documents.items():
            self._bury(place)
            self.live[place] = sentences

    def delete(self, place: Place) -> bool:
        """Delete a document; return whether it was there, which the index must say the same of."""
        try:
            delete_document(self.index, place.tenant, place.doc_id)
        except NotFoundError:
            assert place not in self.live
            return False
        assert place in self.live
        self._bury(place)
        return True

    def restart(self) -> None:
        """Close everything and open it again, on the files alone."""
        self.index.close()
        self._open()

    def kill_engine(self) -> None:
        """SIGKILL the engine process; the next call meets a broken connection."""
        send_signal(self.index.settings, signal.SIGKILL)

    @contextlib.contextmanager
    def engine_killed_after(self, seconds: float):
        """SIGKILL the engine process while the block is at work."""
        timer = threading.Timer(seconds, self.kill_engine)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def reindex(self) -> None:
        """Drop the collection and build it anew from the catalogue's text; refused amid a migration."""
        if self.index.catalog.generations.pair().other is not None:
            with pytest.raises(InputError, match="migration"):
                reindex(self.index)
            return
        reindex(self.index)

    def migrate(self, back: bool) -> str:
        """Take the next step of a change of encoders: build beside, switch, go back, or drop the old."""
        pair = self.index.catalog.generations.pair()
        if pair.beside is None:
            start(self.index, self._other_encoders())
            return "migration started"
        if pair.beside.number > pair.number:
            switch(self.index, unchecked=True)
            return "switched"
        if back:
            switch(self.index, back=True)
            return "switched back"
        self.settings = self.settings.model_copy(update={"encoders": self._other_encoders()})
        self.restart()
        drop(self.index, wait_s=_DROP_S)
        return "old one dropped"

    def _other_encoders(self) -> EncoderSettings:
        return EncoderSettings(dense="new" if self.settings.encoders.dense == "old" else "old")

    def close(self) -> None:
        send_signal(self.index.settings, signal.SIGTERM)
        self.index.close()
        self._patch.undo()

    def _bury(self, place: Place) -> None:
        self.dead.extend((place.tenant, sentence) for sentence in self.live.pop(place, []))

    # ── what must hold ────────────────────────────────────────────────────

    def sentences(self, tenant: str) -> Counter[tuple[str, str]]:
        """What a tenant's documents hold: (document, sentence)."""
        return Counter(
            (place.doc_id, sentence)
            for place, sentences in self.live.items()
            if place.tenant == tenant
            for sentence in sentences
        )

    def search(self, tenant: str, sentence: str) -> None:
        """Search for a sentence: found where it lives, nowhere else, and with exact offsets."""
        owners = {doc for (doc, one) in self.sentences(tenant) if one == sentence}
        found = set()
        for result in self.index.bridge(self._search, tenant, sentence):
            text = self.index.catalog.text(tenant, result.doc_id)
            assert text[result.start : result.end] == result.text
            assert (result.doc_id, result.text) in self.sentences(tenant), "a ghost"
            for first, last in result.highlights:
                if text[first:last] == sentence:
                    found.add(result.doc_id)
        assert found == owners

    async def _search(self, tenant: str, query: str):
        async def embed(text: str):
            return self.index.encoders.embed_queries([text])[0]

        searcher = Searcher(
            self.index.collection,
            self.index.catalog,
            embed,
            retrieval=self.settings.retrieval,
            reranking=self.settings.rerank,
        )
        request = SearchRequest(query=query, tenant=tenant, top_n=_TOP_N, top_k=_TOP_N)
        return (await searcher.search(request)).results

    def counts_agree(self, tenant: str) -> None:
        """Documents in the catalogue and points in the collection are as many as there should be."""
        points = self.index.bridge(self.index.collection.count, tenant=tenant)
        assert points == self.sentences(tenant).total()
        documents = sum(place.tenant == tenant for place in self.live)
        assert self.index.catalog.count_documents(tenant) == documents

    def check(self, tenant: str) -> None:
        """Every point read back is a live sentence at its place, and none is missing."""
        held: Counter[tuple[str, str]] = Counter()
        for batch in self.index.bridge.iterate(self.index.collection.scroll, tenant=tenant):
            for point in batch:
                body = point.payload
                text = self.index.catalog.text(tenant, body["doc_id"])
                assert text[body["start"] : body["end"]] == body["text"]
                held[body["doc_id"], body["text"]] += 1
        assert held == self.sentences(tenant)
