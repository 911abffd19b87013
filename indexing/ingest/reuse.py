"""Dense and token vectors of sentences that an older version of a document has already.

Editing a line of a long file would otherwise encode the whole file again.
Sparse vectors are made anew: they cost little and depend on the average length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from indexing.ingest.encoding import Pool, embed
from indexing.ingest.inputs import Item, items_of
from indexing.ingest.workers import in_order
from indexing.records import Embedding
from indexing.session import Index

# Beyond this the table of an old version's sentences costs more memory than it is worth.
_MAX_SENTENCES = 200_000


@dataclass(frozen=True, slots=True)
class _Begun:
    """A batch, what older versions have of it, and what is left to encode."""

    batch: list[Item]
    found: dict[str, Embedding]
    fresh: list[Item]


class Reuse:
    """Embeds batches; ``count`` sentences took their dense vector from an older version."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._replaced = index.catalog.lifecycle.replaced()
        self._document: int | None = None
        self._known: dict[str, str] = {}
        self.count = 0

    def embed_all(
        self, batches: Iterable[list[Item]], pool: Pool | None
    ) -> Iterator[tuple[list[Item], list[Embedding]]]:
        """Yield each batch with its embeddings, in order; ``pool`` encodes some batches ahead."""
        begun = ((one, [item.text for item in one.fresh]) for one in map(self._begin, batches))
        made: Iterator[tuple[_Begun, list[Embedding]]]
        if pool is None:
            made = ((one, embed(self._index.encoders, texts)) for one, texts in begun)
        else:
            made = in_order(pool, begun)
        for one, embeddings in made:
            yield one.batch, self._finish(one, embeddings)

    def _begin(self, batch: list[Item]) -> _Begun:
        found = self._dense(batch)
        return _Begun(batch, found, [item for item in batch if item.id not in found])

    def _finish(self, begun: _Begun, embeddings: Sequence[Embedding]) -> list[Embedding]:
        """The embeddings of a batch, in its order."""
        batch, found = begun.batch, begun.found
        made = dict(zip((item.id for item in begun.fresh), embeddings, strict=True))
        old = [item for item in batch if item.id in found]
        if old:
            vectors = self._index.encoders.sparse_documents([item.text for item in old])
            for item, sparse in zip(old, vectors, strict=True):
                made[item.id] = Embedding(found[item.id].dense, sparse, found[item.id].tokens)
            self.count += len(old)
        return [made[item.id] for item in batch]

    def _dense(self, batch: Sequence[Item]) -> dict[str, Embedding]:
        """Embeddings of older versions by the id of the new point."""
        wanted: dict[str, dict[str, list[str]]] = {}
        for item in batch:
            if item.document.key != self._document:
                self._document = item.document.key
                self._known = self._sentences_before(self._replaced.get(item.document.key, []))
            old = self._known.get(item.text)
            if old is not None:
                wanted.setdefault(item.document.tenant, {}).setdefault(old, []).append(item.id)
        found: dict[str, Embedding] = {}
        for tenant, ids in wanted.items():
            stored = self._index.bridge(
                self._index.collection.retrieve, list(ids), tenant=tenant, with_vectors=True
            )
            for point in stored:
                if point.embedding is not None:
                    found.update(dict.fromkeys(ids[point.id], point.embedding))
        return found

    def _sentences_before(self, keys: Sequence[int]) -> dict[str, str]:
        """Point ids by encoder input, of the live documents with these keys."""
        known: dict[str, str] = {}
        if not keys:
            return known
        lifecycle = self._index.catalog.lifecycle
        old = [document for document in lifecycle.by_keys(keys) if document.sentences <= _MAX_SENTENCES]
        for item in items_of(lifecycle, old, lambda _: 0):
            known[item.text] = item.id
        return known
