"""One open index: the settings with catalogue, collection and encoders, opened when first needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indexing.bridge import Bridge
from indexing.catalog import Catalog, open_catalog
from indexing.catalog.generations import Generation, Pair
from indexing.catalog.lifecycle import AVERAGE_KEY
from indexing.closing import Closing
from indexing.collection.protocol import Collection, CollectionSpec
from indexing.encoders.protocols import EncoderPair
from indexing.encoders.token_pair import tokens_of
from indexing.errors import EncoderError
from indexing.migration.sides import served_settings, settings_of
from indexing.settings import Settings

if TYPE_CHECKING:
    from indexing.ingest.encoding import Pool

logger = logging.getLogger(__name__)

Checkpoint = Callable[[str], None]


def no_checkpoint(_name: str) -> None:
    """What production passes; the crash tests kill the process here."""


class Index(Closing):
    """What ingest and the command lines work on; a synchronous context manager.

    Encoders and collection are opened on first use: a run that finds nothing
    changed loads no model.  ``checkpoint(name)`` is called between the steps
    whose order makes the ingest safe to kill; ``reader`` names the function
    that reads a file, and ``loader`` the one that loads encoders, by module and
    name, since they run in other processes.

    It works on the generation that the catalogue serves; ``mirror`` is the one
    beside it, while there is one.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        with_encoders: bool = True,
        bridge: Bridge | None = None,
        collection: Collection | None = None,
        encoders: EncoderPair | None = None,
        checkpoint: Checkpoint = no_checkpoint,
        reader: tuple[str, str] = ("indexing.readers", "read_file"),
        loader: tuple[str, str] = ("indexing.encoders", "load_encoders"),
    ) -> None:
        self.configured = settings
        self.reader = reader
        self._loader = loader
        self.locked = False
        self.catalog = catalog
        self.pair = catalog.generations.pair()
        self.settings = served_settings(settings, self.pair)
        self._mirror: Index | None = None
        self._mirror_number = 0
        self.checkpoint = checkpoint
        self._with_encoders = with_encoders
        self._bridge = bridge
        self._collection = collection
        self._encoders = encoders

    @classmethod
    def open(cls, settings: Settings, *, with_encoders: bool = True) -> Index:
        """Open the index at ``settings.home``.

        Args:
            with_encoders: False for what needs no model (status, list, show,
                delete); the collection is then opened as it is.

        Raises:
            CatalogError: the catalogue does not open.
        """
        return cls(settings, open_catalog(settings), with_encoders=with_encoders)

    @property
    def bridge(self) -> Bridge:
        """The one way from here to the asynchronous collection."""
        if self._bridge is None:
            self._bridge = Bridge()
        return self._bridge

    @property
    def encoders(self) -> EncoderPair:
        """The configured encoders, BM25's average length as the catalogue has it.

        Raises:
            EncoderError: a model is not usable, or the index was opened without.
        """
        if self._encoders is None:
            if not self._with_encoders:
                raise EncoderError("this index was opened without encoders")
            from indexing.encoders import load_encoders

            average = self.catalog.meta(AVERAGE_KEY)
            self._encoders = load_encoders(
                self.settings.encoders, average_length=None if average is None else float(average)
            )
        return self._encoders

    @contextmanager
    def pool(self, average: float | None, sentences: int) -> Iterator[Pool | None]:
        """Workers to encode with, as ``indexing.workers`` says; None: this process does it.

        A handful of sentences is encoded sooner than another process loads its models.
        """
        from indexing.ingest.encoding import Setup
        from indexing.ingest.workers import open_pool

        chosen = self.settings.indexing
        if sentences < chosen.batch_sentences or (chosen.workers == 1 and chosen.ray is None):
            yield None
            return
        setup = Setup(self._loader, self.settings.encoders, average)
        pool = open_pool(setup, chosen.workers, chosen.ray)
        try:
            yield pool
        finally:
            if pool is not None:
                pool.close()

    def use_encoders(self, encoders: EncoderPair) -> None:
        """Take these instead of the configured ones; before the collection is first used."""
        self._encoders = encoders

    def use_average_length(self, average: float) -> None:
        """Encode with this average length from now on."""
        self._encoders = self.encoders.with_average_length(average)

    @property
    def collection(self) -> Collection:
        """The collection, checked against the encoders when there are any.

        Raises:
            FingerprintMismatchError: other encoders built it.
            CollectionError: it does not open, or is not there.
        """
        if self._collection is None:
            from indexing.collection import open_collection

            spec = spec_of(self.encoders) if self._with_encoders else None
            self._collection = self.bridge(open_collection, self.settings, spec)
        return self._collection

    def check(self) -> None:
        """Open encoders and collection now: what is wrong with them is said before files are read.

        Raises:
            EncoderError, CollectionError: as the properties do.
        """
        logger.debug("index_open home=%s collection=%s", self.settings.home, type(self.collection).__name__)

    def follow(self) -> None:
        """Work on the generation that is served now: a switch may have come since the last look.

        Whoever holds the writer lock calls this first, since a switch needs that lock.
        """
        found = self.catalog.generations.pair()
        if found == self.pair:
            return
        before, self.pair = self.pair, found
        self.settings = served_settings(self.configured, found)
        if found.number != before.number:
            logger.info("generation_followed before=%d now=%d", before.number, found.number)
            self._change_sides()
        if found.beside is None or found.beside.number != self._mirror_number:
            self._close_mirror()

    def _change_sides(self) -> None:
        """Exchange what is open with the mirror's, when that is served now; else open anew."""
        mirror, self._mirror = self._mirror, None
        if mirror is not None and self._mirror_number == self.pair.number:
            mine = self._collection, self._encoders
            self._collection, self._encoders = mirror._collection, mirror._encoders
            if self.pair.beside is not None:
                self._mirror = self._side(self.pair.beside, *mine)
            elif mine[0] is not None:
                self.bridge(mine[0].close)
            return
        if mirror is not None:
            mirror.close_collection()
        self.close_collection()
        self._encoders = None

    @property
    def mirror(self) -> Index | None:
        """The generation beside the served one, which gets every write as well; None: there is none.

        It shares this index's bridge and catalogue, and is closed with it.
        """
        if self._mirror is None and self.pair.beside is not None:
            self._mirror = self._side(self.pair.beside)
        return self._mirror

    def _side(
        self,
        generation: Generation,
        collection: Collection | None = None,
        encoders: EncoderPair | None = None,
    ) -> Index:
        from indexing.catalog.mirror import MirrorCatalog

        self._mirror_number = generation.number
        side = Index(
            self.configured,
            MirrorCatalog(self.catalog.engine, generation.number),
            with_encoders=self._with_encoders,
            bridge=self.bridge,
            collection=collection,
            encoders=encoders,
            checkpoint=lambda name: self.checkpoint(f"mirror-{name}"),
            loader=self._loader,
        )
        side.settings = settings_of(self.configured, generation)
        side.pair = Pair()
        return side

    def note_trouble(self, trouble: str) -> None:
        """Remember why the generation beside lacks writes; "" when it has them all."""
        beside = self.pair.beside
        if beside is None or beside.trouble == trouble:
            return
        if trouble:
            logger.error("generation_behind number=%d reason=%s", beside.number, trouble)
        self.catalog.generations.note(beside.number, trouble=trouble)
        self.pair = self.catalog.generations.pair()

    def _close_mirror(self) -> None:
        if self._mirror is not None:
            mirror, self._mirror = self._mirror, None
            mirror.close_collection()

    def close_collection(self) -> None:
        """Close the collection; the next use opens it again."""
        if self._collection is not None:
            collection, self._collection = self._collection, None
            self.bridge(collection.close)

    def close(self) -> None:
        try:
            self._close_mirror()
            self.close_collection()
        finally:
            if self._bridge is not None:
                self._bridge.close()
                self._bridge = None
            self.catalog.close()


def spec_of(encoders: EncoderPair) -> CollectionSpec:
    """What a collection must remember of these encoders."""
    tokens = tokens_of(encoders)
    return CollectionSpec(
        dimensions=encoders.dimensions,
        dense_fingerprint=encoders.dense_fingerprint.digest,
        sparse_fingerprint=encoders.sparse_fingerprint.digest,
        sparse_idf=encoders.sparse_idf,
        token_fingerprint="" if tokens is None else tokens.fingerprint.digest,
        token_dimensions=0 if tokens is None else tokens.dimensions,
        pooled_dimensions=0 if tokens is None else tokens.pooled_dimensions,
    )
