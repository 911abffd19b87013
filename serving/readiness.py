"""Is the service able to answer?  Asked of the parts themselves, not of a flag.

The encoder and the reranker get a golden pair: a model that loads and returns
noise (wrong weights, a broken runtime) is found here and not by a user.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from indexing.catalog import Catalog
from indexing.collection.protocol import Collection
from indexing.errors import QueueFullError, WinnowError
from indexing.records import Embedding
from retrieval.reranker import RerankScores
from serving.errors import GoldenError
from serving.schemas import CheckReply, ReadyReply
from serving.threads import in_thread

logger = logging.getLogger(__name__)

_FRESH_S = 1.0
_PATIENCE_S = 5.0

GOLDEN_QUESTION = "How do I open a file?"
GOLDEN_RELEVANT = "You open a file with the function open."
GOLDEN_UNRELATED = "The weather was sunny all week."

Embed = Callable[[str], Awaitable[Embedding]]
Rerank = Callable[[str, Sequence[str]], Awaitable[RerankScores]]


class Readiness:
    """Ask every part; the answer is shared by callers within a second."""

    def __init__(
        self,
        catalog: Catalog,
        collection: Collection,
        embed: Embed,
        reranker: Callable[[], Awaitable[str]] | None = None,
        generation: Callable[[], Awaitable[str]] | None = None,
        optional: frozenset[str] = frozenset(),
    ) -> None:
        """``optional`` names the parts without which the service still answers."""
        self._optional = optional
        self._checks: dict[str, Callable[[], Awaitable[str]]] = {
            "catalogue": lambda: _check_catalog(catalog),
            "collection": lambda: _check_collection(collection),
            "encoder": lambda: check_encoder(embed),
        }
        if reranker is not None:
            self._checks["reranker"] = reranker
        if generation is not None:
            self._checks["generation"] = generation
        self._lock = asyncio.Lock()
        self._last: ReadyReply | None = None
        self._last_at = 0.0

    async def check(self) -> ReadyReply:
        """Return every check with what it found; ``ready`` when all that are required are ok."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last_at > _FRESH_S:
                found = await asyncio.gather(*(self._required(name) for name in self._checks))
                self._last = ReadyReply(
                    ready=all(check.ok or not check.required for check in found), checks=list(found)
                )
                self._last_at = time.monotonic()
            return self._last

    async def _required(self, name: str) -> CheckReply:
        found = await self._one(name)
        return found.model_copy(update={"required": False}) if name in self._optional else found

    async def _one(self, name: str) -> CheckReply:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return CheckReply(name=name, ok=True, detail=await self._checks[name]())
        except QueueFullError:
            # Busy is not broken: taken out of rotation, the other replicas would fill up too.
            return CheckReply(name=name, ok=True, detail="busy")
        except TimeoutError:
            return CheckReply(name=name, ok=False, detail=f"no answer within {_PATIENCE_S:g} s")
        except WinnowError as error:
            return CheckReply(name=name, ok=False, detail=str(error))
        except Exception as error:
            logger.exception("check_crashed name=%s", name)
            return CheckReply(name=name, ok=False, detail=f"failed: {type(error).__name__}, see the log")


async def _check_catalog(catalog: Catalog) -> str:
    count = await in_thread(catalog.count_documents, None)
    return f"{count} documents"


async def _check_collection(collection: Collection) -> str:
    info = await collection.info()
    return f"{info.points} sentences" + (", read only" if info.read_only else "")


async def check_encoder(embed: Embed) -> str:
    """Return a line when the relevant golden text is nearer to the question than the other.

    Raises:
        GoldenError: it is not, or a vector is not a finite unit vector.
    """
    question, relevant, unrelated = await asyncio.gather(
        embed(GOLDEN_QUESTION), embed(GOLDEN_RELEVANT), embed(GOLDEN_UNRELATED)
    )
    if question.dense is not None and relevant.dense is not None and unrelated.dense is not None:
        vectors = np.stack([question.dense, relevant.dense, unrelated.dense])
        norms = np.linalg.norm(vectors, axis=1)
        if not (np.isfinite(vectors).all() and np.allclose(norms, 1.0, atol=1e-2)):
            raise GoldenError("the dense encoder returned something else than finite unit vectors")
        near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
        if near <= far:
            raise GoldenError(f"the dense encoder puts an unrelated text ({far:.3f}) before a relevant one")
    shared = set(question.sparse.indices) & set(relevant.sparse.indices)
    if not shared:
        raise GoldenError("the sparse encoder finds no term shared by a question and its answer")
    return "golden pair in order"


async def check_golden_pair(rerank: Rerank) -> str:
    """Return a line when the reranker puts the relevant golden text first.

    A model that cannot read the pair's script has nothing to show here.

    Raises:
        GoldenError: it does not, or a logit is not finite.
    """
    scores = await rerank(GOLDEN_QUESTION, [GOLDEN_RELEVANT, GOLDEN_UNRELATED])
    if not scores.query_known:
        return "does not read the golden pair's script"
    near, far = (float(logit) for logit in scores.logits)
    if not (np.isfinite(near) and np.isfinite(far) and near > far):
        raise GoldenError(f"the reranker gives a relevant text {near:.3f} and an unrelated one {far:.3f}")
    return "golden pair in order"
