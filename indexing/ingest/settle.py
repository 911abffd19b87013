"""Second half of a run: the collection is brought in line with the catalogue.

Everything it has to do stands in the catalogue, so a run that was killed is
resumed by running it again, and a step done twice changes nothing:

1. documents without a source start to retire;
2. BM25's average length is set, or corrected when it has drifted;
3. staged documents get their points, then become live, and in the same
   transaction their old versions start to retire;
4. while another generation stands beside this one, it gets the same documents;
5. the points of retiring documents are deleted, then their rows;
6. sparse vectors made with an old average are made again;
7. points whose document lost its first source name the new one.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future

from indexing.catalog.lifecycle import AVERAGE_KEY, Lifecycle
from indexing.catalog.records import StoredDocument
from indexing.errors import CollectionError, WinnowError
from indexing.identity import point_id
from indexing.ingest.inputs import Item, batches, items_of
from indexing.ingest.report import IngestReport, Progress
from indexing.ingest.reuse import Reuse
from indexing.records import Embedding, Point
from indexing.session import Index

logger = logging.getLogger(__name__)

# BM25 scores move by a few per cent of a per cent within this; beyond it, all
# sparse vectors are made again, which costs no model.
AVERAGE_DRIFT = 0.10

_IDS_PER_CALL = 5000
_POINTS_PER_CALL = 1000
_BATCHES_UNDER_WAY = 2


def settle(index: Index, report: IngestReport, progress: Progress) -> None:
    """Do all that the catalogue says is left to do."""
    lifecycle = index.catalog.lifecycle
    lifecycle.commit_sources()
    index.checkpoint("sources-committed")
    _measure(index, progress)
    _set_average(index)
    _embed(index, report, progress)
    lifecycle.commit_sources()
    index.checkpoint("sources-committed")
    progress.committed()
    _write_beside(index, progress)
    retire(index, report)
    _reweigh(index, report, progress)
    _name_sources(index)


def bring_in_line(mirror: Index, report: IngestReport, progress: Progress) -> None:
    """Give a generation beside the served one what its catalogue says it lacks."""
    _measure(mirror, progress)
    _set_average(mirror)
    _embed(mirror, report, progress)
    _reweigh(mirror, report, progress)
    _name_sources(mirror)


def _write_beside(index: Index, progress: Progress) -> None:
    """Write to the generation beside as well, before this run counts as done.

    What is served must not fail with a model or a server that is only on
    trial: then the catalogue's rows are the note of what is owed, and no
    switch happens before it is paid.
    """
    mirror = index.mirror
    if mirror is None:
        return
    try:
        bring_in_line(mirror, IngestReport(), progress)
        index.note_trouble("")
    except WinnowError as error:
        index.note_trouble(str(error))


def _measure(index: Index, progress: Progress) -> None:
    """Count the sparse terms of new documents: the average needs all before the first is encoded."""
    lifecycle = index.catalog.lifecycle
    documents = lifecycle.unmeasured()
    if not documents:
        return
    progress.stage("measure", sum(document.sentences for document in documents), "sentences")
    length = index.encoders.document_length
    terms = {document.key: 0 for document in documents if not document.sentences}
    open_terms: dict[int, int] = {}
    for batch in batches(items_of(lifecycle, documents, lambda _: 0), 4 * _POINTS_PER_CALL):
        for item in batch:
            key = item.document.key
            open_terms[key] = open_terms.get(key, 0) + length(item.text)
            if item.last:
                terms[key] = open_terms.pop(key)
        lifecycle.set_terms(terms)
        terms = {}
        progress.advance(len(batch))
    lifecycle.set_terms(terms)
    index.checkpoint("measured")


def _set_average(index: Index) -> None:
    """Choose the average length that sparse vectors are made with from now on."""
    stored = index.catalog.meta(AVERAGE_KEY)
    lengths = index.catalog.lifecycle.lengths()
    if not lengths.sentences:
        return
    # An encoder that counts no terms, or a text of stop words only, needs some number.
    exact = lengths.terms / lengths.sentences if lengths.terms else 1.0
    current = float(stored) if stored is not None else None
    if current is not None and lengths.embedded and abs(exact - current) <= AVERAGE_DRIFT * current:
        return
    logger.info("average_length old=%s new=%.3f", stored, exact)
    index.catalog.lifecycle.set_average(exact)
    index.checkpoint("average-set")


def _current_average(index: Index) -> float | None:
    stored = index.catalog.meta(AVERAGE_KEY)
    return None if stored is None else float(stored)


def _embed(index: Index, report: IngestReport, progress: Progress) -> None:
    lifecycle = index.catalog.lifecycle
    documents = lifecycle.to_embed()
    if not documents:
        return
    average = _current_average(index)
    empty = [document.key for document in documents if not document.sentences]
    report.documents += lifecycle.record({}, empty)
    starts = _plan(lifecycle, documents, average)
    left = sum(document.sentences - starts[document.key] for document in documents)
    if not left:
        report.documents += lifecycle.record({}, [document.key for document in documents])
        return
    if average is not None:
        index.use_average_length(average)
    progress.stage("embed", left, "sentences")
    reuse = Reuse(index)
    # The plan has stored each document's source: read the rows again.
    items = items_of(lifecycle, lifecycle.to_embed(), lambda document: starts[document.key])
    with index.pool(average, left) as pool, _Writing(index, report, progress) as writing:
        parts = batches(items, index.settings.indexing.batch_sentences)
        for batch, embeddings in reuse.embed_all(parts, pool):
            points = [
                Point(item.id, embedding, payload_of(item))
                for item, embedding in zip(batch, embeddings, strict=True)
            ]
            index.checkpoint("embedded")
            writing.begin(batch, points)
        writing.finish()
    report.reused += reuse.count


class _Writing:
    """Writes batches while the next one is encoded; what the engine acknowledged is recorded, no more.

    Two are on their way at most: the engine has the next one at hand when it
    is done with one.  They are recorded in order, so that of a document's
    sentences always a prefix is.  Left by an error, it records nothing of what
    is on its way: the next run writes that again.
    """

    def __init__(self, index: Index, report: IngestReport, progress: Progress) -> None:
        self._index = index
        self._report = report
        self._progress = progress
        self._under_way: deque[tuple[list[Item], Future[None]]] = deque()

    def begin(self, batch: list[Item], points: list[Point]) -> None:
        """Start to write ``points``, with one batch before them under way at most."""
        while len(self._under_way) >= _BATCHES_UNDER_WAY:
            self._record()
        written = self._index.bridge.start(self._index.collection.upsert, points)
        self._under_way.append((batch, written))

    def finish(self) -> None:
        """Wait for what is on its way and record it; raises what the engine raised."""
        while self._under_way:
            self._record()

    def _record(self) -> None:
        batch, written = self._under_way.popleft()
        written.result()
        index = self._index
        index.checkpoint("upserted")
        done = {item.document.key: item.sentence.ordinal + 1 for item in batch}
        ended = [item.document.key for item in batch if item.last]
        self._report.documents += index.catalog.lifecycle.record(done, ended)
        index.checkpoint("recorded")
        self._report.sentences += len(batch)
        self._progress.advance(len(batch))
        self._progress.committed()

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *_: object) -> None:
        for _batch, written in self._under_way:
            written.cancel()


def _plan(lifecycle: Lifecycle, documents: list[StoredDocument], average: float | None) -> dict[int, int]:
    """Where each document's encoding goes on; what starts afresh is noted first.

    A document goes on after its last acknowledged sentence only when that was
    made with the present average.
    """
    starts: dict[int, int] = {}
    plans: dict[int, tuple[str, float | None]] = {}
    by_tenant: dict[str, list[StoredDocument]] = {}
    for document in documents:
        if document.embedded and document.average == average and document.source:
            starts[document.key] = document.embedded
        else:
            by_tenant.setdefault(document.tenant, []).append(document)
    for tenant, fresh in by_tenant.items():
        first = lifecycle.first_sources(tenant)
        for document in fresh:
            starts[document.key] = 0
            plans[document.key] = (first[document.doc_id], average)
    lifecycle.begin_embedding(plans)
    return starts


def payload_of(item: Item) -> dict[str, object]:
    """What a point carries: enough to show and filter a hit without a second look-up."""
    document, sentence = item.document, item.sentence
    payload: dict[str, object] = {
        "tenant": document.tenant,
        "doc_id": document.doc_id,
        "version": document.version,
        "ordinal": sentence.ordinal,
        "start": sentence.start,
        "end": sentence.end,
        "text": sentence.text,
        "source": document.source,
    }
    if sentence.section:
        payload["section"] = sentence.section
    if sentence.page is not None:
        payload["page"] = sentence.page
    if document.title:
        payload["title"] = document.title
    if document.metadata:
        payload["metadata"] = dict(document.metadata)
    return payload


def ids_of(document: StoredDocument) -> list[str]:
    """The ids of a document's points, by ordinal."""
    return [
        point_id(document.tenant, document.doc_id, document.version, ordinal)
        for ordinal in range(document.sentences)
    ]


def retire(index: Index, report: IngestReport) -> None:
    """Delete the points of retiring documents, then forget the documents."""
    waiting: list[StoredDocument] = []
    ids: list[str] = []
    for document in index.catalog.lifecycle.retiring():
        waiting.append(document)
        ids.extend(ids_of(document))
        if len(ids) >= _IDS_PER_CALL:
            _drop(index, waiting, ids)
            waiting, ids = [], []
        report.retired += 1
    if waiting:
        _drop(index, waiting, ids)


def _drop(index: Index, documents: list[StoredDocument], ids: list[str]) -> None:
    for start in range(0, len(ids), _IDS_PER_CALL):
        index.bridge(index.collection.delete, ids[start : start + _IDS_PER_CALL])
    index.checkpoint("points-deleted")
    if not _drop_beside(index, ids):
        return  # the rows stay: the next run deletes these points there
    index.catalog.lifecycle.drop([document.key for document in documents])
    index.checkpoint("rows-deleted")


def _drop_beside(index: Index, ids: list[str]) -> bool:
    """Delete the points in the generation beside; whether nothing is left to delete."""
    mirror = index.mirror
    if mirror is None:
        return True
    try:
        for start in range(0, len(ids), _IDS_PER_CALL):
            mirror.bridge(mirror.collection.delete, ids[start : start + _IDS_PER_CALL])
    except WinnowError as error:
        index.note_trouble(str(error))
        return False
    mirror.checkpoint("points-deleted")
    return True


def _reweigh(index: Index, report: IngestReport, progress: Progress) -> None:
    """Make the sparse vectors again that another average length was used for."""
    average = _current_average(index)
    if average is None:
        return
    lifecycle = index.catalog.lifecycle
    documents = lifecycle.other_average(average)
    if not documents:
        return
    index.use_average_length(average)
    progress.stage("re-weigh", sum(document.sentences for document in documents), "sentences")
    lifecycle.set_document_averages(
        {document.key: average for document in documents if not document.sentences}
    )
    for batch in batches(items_of(lifecycle, documents, lambda _: 0), _POINTS_PER_CALL):
        vectors = index.encoders.sparse_documents([item.text for item in batch])
        updates = {item.id: vector for item, vector in zip(batch, vectors, strict=True)}
        index.bridge(index.collection.update_sparse, updates)
        index.checkpoint("re-weighed")
        lifecycle.set_document_averages({item.document.key: average for item in batch if item.last})
        report.reweighed += len(batch)
        progress.advance(len(batch))


def _name_sources(index: Index) -> None:
    """Rewrite the payload of documents whose first source has changed; vectors stay."""
    for document, source in index.catalog.lifecycle.other_source():
        ids = ids_of(document)
        for start in range(0, len(ids), _POINTS_PER_CALL):
            stored = index.bridge(
                index.collection.retrieve,
                ids[start : start + _POINTS_PER_CALL],
                tenant=document.tenant,
                with_vectors=True,
            )
            points = [
                Point(point.id, _embedding(point.embedding, point.id), {**point.payload, "source": source})
                for point in stored
            ]
            index.bridge(index.collection.upsert, points)
        index.checkpoint("source-renamed")
        index.catalog.lifecycle.set_source(document.key, source)


def _embedding(embedding: Embedding | None, id: str) -> Embedding:
    if embedding is None:
        raise CollectionError(f"the collection returned point {id} without the vectors asked for")
    return embedding
