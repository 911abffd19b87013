"""Whole answers kept for the same question, as long as nothing changed that they depend on.

Two questions are the same when they are the same text: no embedding decides
that one question is near enough to another one.  The key holds the tenant, the
question, every option, the models, and the catalogue's revision, a count that
moves with every document that comes, changes or goes, so an answer from an
older state of the documents is never found.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from indexing.settings import GenerationSettings
from retrieval.generation.prompts import INSTRUCTION
from serving.answering.records import AnswerRequest, Written


class AnswerCache:
    """The latest used ``size`` answers of one process.

    Args:
        size: answers kept, at least 1.
        revision: the catalogue's count of changes for a tenant.
        reranker: name of the reranker in use, which may change at any time.
    """

    def __init__(
        self, size: int, revision: Callable[[str], Awaitable[int]], reranker: Callable[[], str | None]
    ) -> None:
        self._size = size
        self._revision = revision
        self._reranker = reranker
        self._kept: OrderedDict[str, Written] = OrderedDict()

    async def key(self, request: AnswerRequest, model: str, settings: GenerationSettings) -> str | None:
        """Return the key, None for an answer that must not be kept.

        Such are answers in a conversation, which depend on what was said, and
        those drawn at a temperature, which are meant to differ.
        """
        temperature = settings.temperature if request.temperature is None else request.temperature
        if not (request.cache and request.generate) or request.history or request.said or temperature > 0:
            return None
        # Read before the search: a change after this makes the next question miss.
        revision = await self._revision(request.search.tenant)
        parts = {
            "search": asdict(request.search),
            "expand": asdict(request.expand),
            "options": [
                *(request.response_mode, request.passages or settings.passages),
                *(request.max_tokens, request.system, request.max_sentences),
            ],
            "settings": settings.model_dump(mode="json", exclude={"api_key", "salt_secret"}),
            "instruction": INSTRUCTION,
            "models": [model, self._reranker()],
            "revision": revision,
        }
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def get(self, key: str) -> Written | None:
        """Return the kept answer and count it as used."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: str, written: Written) -> None:
        """Keep a complete answer; one that lacks a stage is not kept."""
        if written.receipt.degraded or written.answer.kind == "extractive":
            return
        self._kept[key] = written
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
