"""Start a migration, and fill the new generation from the stored text in bounded slices.

The writer lock is held for one slice at a time, about a second, and let go in
between, so that an ingest or a deletion waits for no more than that.  Every
slice begins where the catalogue says the last one ended: a backfill that was
killed goes on when ``start`` is called again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from indexing.catalog.mirror import MirrorCatalog, MirrorLifecycle
from indexing.catalog.records import StoredDocument
from indexing.errors import InputError
from indexing.ingest import writing
from indexing.ingest.inputs import Item, batches, items_of
from indexing.ingest.report import IngestReport, Progress, Silent
from indexing.ingest.settle import payload_of, retire, settle
from indexing.migration.borrow import embeddings_of
from indexing.migration.change import publish
from indexing.migration.sides import described
from indexing.records import Embedding, Point
from indexing.session import Index
from indexing.settings import CollectionSettings, EncoderSettings

SLICE_S = 1.0
# Longer than the poll of a process that waits for the lock, so that it gets its turn.
PAUSE_S = 0.15
_BATCH = 128
_DOCUMENTS = 256


def start(
    index: Index,
    encoders: EncoderSettings,
    collection: CollectionSettings | None = None,
    *,
    progress: Progress | None = None,
) -> int:
    """Build a generation with these encoders beside the served one; returns its number.

    Called again it goes on where it was, or finds nothing to do.  When it
    returns, both generations hold every document.

    Args:
        encoders: of the new generation.
        collection: its quantization and graph parameters; None: as configured.

    Raises:
        InputError: another migration is under way, or these encoders are those in use.
        FingerprintMismatchError: the configured encoders did not build what is served now.
        IngestBusyError: another process went on writing for too long.
    """
    told = progress if progress is not None else Silent()
    target = index.configured.model_copy(
        update={"encoders": encoders, "collection": collection or index.configured.collection}
    )
    with writing(index, progress=told):
        _list(index, described(target), told)
        index.checkpoint("migration-listed")
        mirror = _mirror(index)
        mirror.check()  # creates the collection
        publish(index)
    index.checkpoint("migration-created")
    Backfill(index, told).run()
    mirror.bridge(mirror.collection.optimize, wait=True)
    index.checkpoint("migration-filled")
    return index.pair.number if index.pair.beside is None else index.pair.beside.number


def _list(index: Index, new: dict[str, object], progress: Progress) -> None:
    """Note the migration in the catalogue, unless it is there."""
    beside = index.pair.beside
    if index.pair.other is not None and beside is None:
        raise InputError("a generation is being dropped; finish that first: python -m indexing migrate drop")
    if beside is not None:
        wanted = (new["encoders"], new["parameters"])
        if (dict(beside.encoders), dict(beside.parameters)) != wanted:
            raise InputError(
                f"generation {beside.number} with other encoders stands beside the served one already; "
                "end that migration first: python -m indexing migrate drop"
            )
        return
    old = described(index.settings)
    if (old["encoders"], old["parameters"]) == (new["encoders"], new["parameters"]):
        raise InputError(
            "the new generation would equal the served one: keep the old encoders configured and name "
            "the new ones, as in: python -m indexing migrate start --dense FOLDER"
        )
    index.check()
    settle(index, IngestReport(), progress)
    index.catalog.generations.begin(old, new)
    index.follow()


def _mirror(index: Index) -> Index:
    if index.mirror is None:
        raise InputError("no migration is under way; begin one with: python -m indexing migrate start")
    return index.mirror


class Backfill:
    """Pays what the generation beside is owed, slice by slice."""

    def __init__(self, index: Index, progress: Progress) -> None:
        self._index = index
        self._progress = progress
        self._after = 0

    def run(self) -> None:
        """Return when nothing is owed."""
        # The average needs the terms of all documents before the first one is encoded.
        self._repeat("measure", self._measure)
        self._progress.stage("embed", self._index.catalog.generations.debt().sentences, "sentences")
        self._repeat("embed", self._embed)

    def _repeat(self, wanted: Literal["measure", "embed"], work: _Work) -> None:
        while True:
            with writing(self._index, progress=self._progress):
                mirror = _mirror(self._index)
                lifecycle = _lifecycle(mirror)
                # A deletion that came while the lock was held left its points to the holder.
                retire(self._index, IngestReport())
                documents = lifecycle.backlog(wanted, self._after, _DOCUMENTS)
                if documents:
                    self._after = work(mirror, lifecycle, documents)
                elif not self._after:
                    if wanted == "measure":
                        _choose_average(mirror, lifecycle)
                    return
                else:
                    self._after = 0  # once more from the start: some may have been sent back
            time.sleep(PAUSE_S)

    def _measure(self, mirror: Index, lifecycle: MirrorLifecycle, documents: Sequence[StoredDocument]) -> int:
        """Count terms for the length of a slice; returns the last document's key."""
        deadline = time.monotonic() + SLICE_S
        terms: dict[int, int] = {}
        for document in documents:
            items = items_of(lifecycle, [document], lambda _: 0)
            terms[document.key] = sum(mirror.encoders.document_length(item.text) for item in items)
            if time.monotonic() >= deadline:
                break
        lifecycle.set_terms(terms)
        mirror.checkpoint("measured")
        return max(terms)

    def _embed(self, mirror: Index, lifecycle: MirrorLifecycle, documents: Sequence[StoredDocument]) -> int:
        """Encode and write for the length of a slice; returns the last complete document's key."""
        deadline = time.monotonic() + SLICE_S
        average = self._index.catalog.generations.average(_number(mirror))
        if average is not None:
            mirror.use_average_length(average)
        starts = {one.key: one.embedded if one.average == average and one.source else 0 for one in documents}
        sources = lifecycle.served_sources(list(starts))
        # What starts afresh is noted before its first point is written.
        fresh = {key: (sources[key], average) for key, at in starts.items() if at == 0}
        lifecycle.begin_embedding(fresh)
        named = [replace(one, source=sources[one.key]) if one.key in fresh else one for one in documents]
        after = self._after
        for batch in batches(items_of(lifecycle, named, lambda one: starts[one.key]), _BATCH):
            self._write(mirror, lifecycle, batch, embeddings_of(self._index, mirror, batch))
            finished = [item.document.key for item in batch if item.last]
            after = max([after, *finished])
            if time.monotonic() >= deadline:
                break
        return after

    def _write(
        self,
        mirror: Index,
        lifecycle: MirrorLifecycle,
        batch: Sequence[Item],
        embeddings: Sequence[Embedding],
    ) -> None:
        points = [
            Point(item.id, embedding, payload_of(item))
            for item, embedding in zip(batch, embeddings, strict=True)
        ]
        mirror.checkpoint("embedded")
        mirror.bridge(mirror.collection.upsert, points)
        mirror.checkpoint("upserted")
        lifecycle.record({item.document.key: item.sentence.ordinal + 1 for item in batch}, [])
        mirror.checkpoint("recorded")
        self._progress.advance(len(batch))


_Work = Callable[[Index, MirrorLifecycle, Sequence[StoredDocument]], int]


def _lifecycle(mirror: Index) -> MirrorLifecycle:
    return MirrorLifecycle(mirror.catalog.engine, _number(mirror))


def _number(mirror: Index) -> int:
    if not isinstance(mirror.catalog, MirrorCatalog):
        raise InputError("this is not a generation beside the served one")
    return mirror.catalog.number


def _choose_average(mirror: Index, lifecycle: MirrorLifecycle) -> None:
    lengths = lifecycle.lengths()
    if lengths.sentences and not lengths.embedded:
        lifecycle.set_average(lengths.terms / lengths.sentences if lengths.terms else 1.0)
        mirror.checkpoint("average-set")
