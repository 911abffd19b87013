"""The service's reranker: one worker, and a model that can be replaced while it works.

``python -m distill models promote`` replaces a pointer in the home folder.
The service looks at it every ``rerank.watch_s``, loads the new model beside
the old one in a thread, asks it for the golden pair, and only then changes
one reference.  A request keeps the model that was current when it got in
line, so no request fails and none is scored by two models; the old model is
freed when the last of them is answered.  Until then both are in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

from indexing.collection.protocol import Collection
from indexing.errors import CapacityError, EncoderError, WinnowError
from indexing.settings import Settings
from retrieval.late_interaction import ExportedLateInteraction, QueryTokens
from retrieval.registry import chosen_model
from retrieval.rerank import load_folder
from retrieval.reranker import Reranker, RerankScores
from retrieval.step_aside import score_known
from retrieval.stored_tokens import StoredTokens
from serving.admission import Admission, Limit
from serving.batching import BatchWorker
from serving.metrics import Metrics
from serving.readiness import check_golden_pair
from serving.threads import in_thread

logger = logging.getLogger(__name__)

# A reranked query takes about a hundred times as long as an encoded one, so a
# shorter line already means the same wait.
_LINE_SHARE = 8
_AT_ONCE = 2  # one in the model, and one whose turn is next

# Texts None: the query alone is encoded, for passages whose token vectors are stored.
_Job = tuple[Reranker, str, tuple[str, ...] | None]
_Done = RerankScores | QueryTokens | None
Load = Callable[[Path], Reranker]


class LiveReranker:
    """The current reranker, its worker thread, and the watch over the registry.

    Args:
        settings: of the service; ``rerank.model`` "auto" is watched, a named folder is not.
        load: folder to model; blocks, and is called in a thread.
    """

    def __init__(self, settings: Settings, metrics: Metrics, load: Load | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._load = load or (lambda folder: load_folder(folder, settings.rerank))
        self._current: Reranker | None = None
        self._folder: Path | None = None
        self._trouble = ""
        self._watcher: asyncio.Task[None] | None = None
        self._worker = BatchWorker[_Job, _Done](
            "rerank",
            self._score,
            max_batch=1,  # a reranker batches over the query's own windows
            max_waiting=max(1, settings.serving.queue_size // _LINE_SHARE),
            observe=metrics.observe_batch("rerank"),
        )
        self._line = Admission(
            "rerank",
            queue_size=max(1, settings.serving.queue_size // _LINE_SHARE),
            max_wait_s=settings.rerank.timeout_s,
            patience_s=settings.rerank.timeout_s,
            limit=Limit(_AT_ONCE, _AT_ONCE),
        )

    @property
    def name(self) -> str | None:
        """Name of the current model, None while there is none."""
        current = self._current
        return None if current is None else current.name

    @property
    def possible(self) -> bool:
        """Whether there is a model, or one may come."""
        return self._current is not None or self._watches

    def available(self) -> bool:
        """Return whether a request would be reranked now."""
        return self._current is not None

    def load_first(self) -> None:
        """Load the model to start with; blocks.

        Raises:
            WinnowError: the setting or the registry names a model that does not load.
        """
        self._folder = self._wanted()
        self._current = None if self._folder is None else self._load(self._folder)

    def start(self) -> None:
        """Start the worker and the watch; needs a running event loop."""
        self._worker.start()
        self._metrics.watch_queue("rerank", lambda: self._worker.waiting + self._line.waiting)
        if self._watches:
            self._watcher = asyncio.create_task(self._watch(), name="winnow-rerank-watch")

    async def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the current model's scores for the texts it can read.

        Raises:
            CapacityError: the line is full, the service is closing, or there is no model.
            EncoderError: the model failed.
        """
        current = self._current
        if current is None:
            raise CapacityError("no reranker is loaded")
        async with self._line.admitted():
            scores = await self._worker.submit((current, query, tuple(texts)))
        if not isinstance(scores, RerankScores):
            raise TypeError("the worker answered a question that was not asked")
        return scores

    def stored_tokens(self, collection: Collection) -> StoredTokens | None:
        """Return the stage that compares what ``collection`` stores; None when it stores no tokens."""
        if not collection.spec.token_dimensions:
            return None
        return StoredTokens(
            collection,
            partial(self._query_tokens, collection.spec.token_fingerprint),
            self._settings.rerank.min_coverage,
        )

    async def _query_tokens(self, fingerprint: str, query: str) -> QueryTokens | None:
        current = self._current
        least = self._settings.encoders.min_coverage
        if not isinstance(current, ExportedLateInteraction):
            return None
        if current.token_fingerprint(least) != fingerprint:
            return None
        tokens = await self._worker.submit((current, query, None))
        return tokens if isinstance(tokens, QueryTokens) else None

    async def check(self) -> str:
        """Return a line for ``/ready`` after asking the current model for the golden pair.

        Raises:
            GoldenError: it does not put the relevant text first.
        """
        current = self._current
        if current is None:
            return self._with_trouble("no model is promoted or shipped")
        return self._with_trouble(f"{current.name}: {await check_golden_pair(self.score)}")

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        await self._worker.close(self._settings.serving.shutdown_grace_s)

    @property
    def _watches(self) -> bool:
        return self._settings.rerank.model == "auto" and self._settings.rerank.watch_s > 0

    def _wanted(self) -> Path | None:
        return chosen_model(self._settings.rerank, self._settings.home)

    def _score(self, jobs: list[_Job]) -> list[_Done]:
        least = self._settings.rerank.min_coverage
        try:
            return [
                _encoded(model, query) if texts is None else score_known(model, query, texts, least)
                for model, query, texts in jobs
            ]
        except WinnowError:
            raise
        except Exception as error:
            # Whatever a model raises, the search can be answered without it.
            logger.exception("reranker_crashed")
            raise EncoderError(f"the reranker failed with {type(error).__name__}, see the log") from error

    def _with_trouble(self, line: str) -> str:
        return f"{line}; {self._trouble}" if self._trouble else line

    async def _watch(self) -> None:
        refused: set[Path | None] = set()  # the last one that was not taken
        while True:
            await asyncio.sleep(self._settings.rerank.watch_s)
            try:
                wanted = await in_thread(self._wanted)
            except WinnowError as error:
                self._refuse(str(error))
                continue
            if wanted == self._folder:
                self._trouble, refused = "", set()
            elif wanted not in refused:
                refused = set() if await self._change(wanted) else {wanted}

    async def _change(self, wanted: Path | None) -> bool:
        """Take the model in ``wanted``; keep the old one, and say so, when it does not load or pass."""
        began = perf_counter()
        try:
            model = None if wanted is None else await in_thread(self._load_checked, wanted)
        except Exception as error:
            # Whatever a damaged model raises, the one in service must go on.
            known = isinstance(error, WinnowError)
            if not known:
                logger.exception("reranker_load_crashed model=%s", wanted)
            reason = str(error) if known else f"{type(error).__name__}, see the log"
            self._refuse(f"the promoted model {wanted.name if wanted else None} was not taken: {reason}")
            return False
        before = self.name
        self._current, self._folder, self._trouble = model, wanted, ""
        self._metrics.reranker_changes.labels("taken").inc()
        took = (perf_counter() - began) * 1000
        logger.info("reranker_changed before=%s now=%s ms=%.0f", before, self.name, took)
        return True

    def _load_checked(self, folder: Path) -> Reranker:
        model = self._load(folder)

        async def ask(query: str, texts: Sequence[str]) -> RerankScores:
            return score_known(model, query, texts, self._settings.rerank.min_coverage)

        asyncio.run(check_golden_pair(ask))
        return model

    def _refuse(self, trouble: str) -> None:
        if trouble != self._trouble:
            logger.warning("reranker_kept now=%s reason=%s", self.name, trouble)
            self._metrics.reranker_changes.labels("refused").inc()
        self._trouble = trouble


def _encoded(model: Reranker, query: str) -> QueryTokens | None:
    return model.query_tokens(query) if isinstance(model, ExportedLateInteraction) else None
