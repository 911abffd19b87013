"""One open index: the settings with catalogue, collection and encoders, opened when first needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

from indexing.bridge import Bridge
from indexing.catalog import Catalog, open_catalog
from indexing.catalog.lifecycle import AVERAGE_KEY
from indexing.collection.protocol import Collection, CollectionSpec
from indexing.encoders.protocols import EncoderPair
from indexing.errors import EncoderError
from indexing.settings import Settings

logger = logging.getLogger(__name__)

Checkpoint = Callable[[str], None]


def no_checkpoint(_name: str) -> None:
    """What production passes; the crash tests kill the process here."""


class Index:
    """What ingest and the command lines work on; a synchronous context manager.

    Encoders and collection are opened on first use: a run that finds nothing
    changed loads no model.  ``checkpoint(name)`` is called between the steps
    whose order makes the ingest safe to kill; ``reader`` names the function
    that reads a file, by module and name, since it runs in other processes.
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
    ) -> None:
        self.settings = settings
        self.reader = reader
        self.locked = False
        self.catalog = catalog
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

    def close_collection(self) -> None:
        """Close the collection; the next use opens it again."""
        if self._collection is not None:
            collection, self._collection = self._collection, None
            self.bridge(collection.close)

    def close(self) -> None:
        try:
            self.close_collection()
        finally:
            if self._bridge is not None:
                self._bridge.close()
                self._bridge = None
            self.catalog.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def spec_of(encoders: EncoderPair) -> CollectionSpec:
    """What a collection must remember of these encoders."""
    return CollectionSpec(
        dimensions=encoders.dimensions,
        dense_fingerprint=encoders.dense_fingerprint.digest,
        sparse_fingerprint=encoders.sparse_fingerprint.digest,
        sparse_idf=encoders.sparse_idf,
    )
