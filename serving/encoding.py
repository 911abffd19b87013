"""The encoders behind one batch worker: queries, and now and then a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from indexing.encoders.protocols import EncoderPair
from indexing.records import Embedding
from indexing.settings import ServingSettings
from serving.batching import BatchWorker
from serving.metrics import Metrics


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    document: bool = False


class EncodeWorker:
    """Encodes texts of concurrent requests together, in the one thread that may touch the encoders."""

    def __init__(
        self,
        encoders: EncoderPair,
        settings: ServingSettings,
        metrics: Metrics,
        average_length: Callable[[], float | None],
    ) -> None:
        """``average_length`` is read for every batch with passages: the ingest sets and changes it."""
        self._encoders = encoders
        self._average_length = average_length
        self._grace_s = settings.shutdown_grace_s
        self._worker = BatchWorker[_Text, Embedding](
            "encode",
            self._encode,
            max_batch=settings.batch_size,
            max_waiting=settings.queue_size,
            observe=metrics.observe_batch("encode"),
        )
        metrics.watch_queue("encode", lambda: self._worker.waiting)
        self._worker.start()

    async def query(self, text: str) -> Embedding:
        """Return the vectors of a question."""
        return await self._worker.submit(_Text(text))

    async def document(self, text: str) -> Embedding:
        """Return the vectors of a passage, encoded as the indexed ones are."""
        return await self._worker.submit(_Text(text, document=True))

    async def close(self) -> None:
        """Finish what is in line within the grace."""
        await self._worker.close(self._grace_s)

    def _encode(self, batch: list[_Text]) -> Sequence[Embedding]:
        queries = [one.text for one in batch if not one.document]
        documents = [one.text for one in batch if one.document]
        encoded = iter(self._encoders.embed_queries(queries)) if queries else iter(())
        passages = iter(self._passages(documents) if documents else ())
        return [next(passages) if one.document else next(encoded) for one in batch]

    def _passages(self, documents: list[str]) -> Sequence[Embedding]:
        # Nothing is indexed where there is no average, and nothing is found by any vector.
        average = self._average_length() or 1.0
        return self._encoders.with_average_length(average).embed_documents(documents)
