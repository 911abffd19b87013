"""Writes one answer as a stream of events; every path ends in a :class:`Written` or an error."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING

from indexing.errors import CapacityError, GenerationError
from indexing.settings import ExpansionSettings, GenerationSettings
from retrieval.answer import MAX_SENTENCES, extract_answer, not_found
from retrieval.generation.citations import check_answer
from retrieval.generation.links import without_links
from retrieval.generation.prompts import (
    INSTRUCTION,
    NOT_IN_DOCUMENTS,
    ContextPassage,
    ReadWindows,
    Turn,
    gather_passages,
    pack,
)
from retrieval.generation.protocol import GenerationRequest, Generator, Message, PassageUnit
from retrieval.records import Answer, Receipt, SearchRequest, SearchResponse, SearchResult, Stage
from retrieval.spans import fail_stage, open_stage
from serving.answering.cache import AnswerCache
from serving.answering.confidence import confidence
from serving.answering.expanding import Expansion, expand
from serving.answering.history import condensed_turn
from serving.answering.records import (
    AnswerRequest,
    Draft,
    Event,
    Found,
    Labelled,
    Piece,
    StageDone,
    Written,
)
from serving.answering.reply import ModelReply, streamed
from serving.answering.steps import add_expansion, add_step, packing, spent, summed, verdict
from serving.threads import in_thread

if TYPE_CHECKING:
    from retrieval.generation.synthesis import Synthesis

log = logging.getLogger(__name__)

Search = Callable[[SearchRequest], Awaitable[SearchResponse]]

DIRECT = "Answer the user briefly, in their language, without links, images or HTML."
ASK_BACK = (
    "The user's question cannot be searched for: it is not clear what it is about. "
    "Ask one short question back, in their language."
)

# Messages repeated where no passages are: what was said before that is seldom meant.
_MOST_SAID = 20


class AnswerWriter:
    """Writes answers; safe to share between requests.

    Args:
        search: runs a search and records it.
        generator: the language model; None quotes sentences instead.
        generation: budgets, thresholds and what to do when the model fails.
        expansion: limits of the steps before the search.
        read_windows: the catalogue's sentences, for passages that are sections.
        cache: keeps whole answers; None keeps none.
    """

    def __init__(
        self,
        search: Search,
        generator: Generator | None,
        generation: GenerationSettings,
        expansion: ExpansionSettings,
        read_windows: ReadWindows,
        cache: AnswerCache | None = None,
    ) -> None:
        self._cache = cache
        self._read_windows = read_windows
        self._search = search
        self._generator = generator
        self._generation = generation
        self._expansion = expansion

    async def write(self, request: AnswerRequest) -> AsyncGenerator[Event]:
        """Yield the answer's events; close the generator to stop the work and the model.

        Raises:
            GenerationError: the model failed and ``generation.fallback`` is "none".
            WinnowError: the search failed.
        """
        key = None
        if self._cache is not None and self._generator is not None:
            began = perf_counter()
            key = await self._cache.key(request, self._generator.model, self._generation)
            kept = None if key is None else self._cache.get(key)
            if kept is not None:
                step = Stage("cache", round((perf_counter() - began) * 1000, 3), {"hit": True})
                yield StageDone(step)
                yield Found(kept.results)
                yield Piece(kept.answer.text, kept.answer.kind)
                yield replace(kept, receipt=Receipt((step,), ()), usage=None, cached=True)
                return
        async with contextlib.aclosing(self._write(request)) as events:
            async for event in events:
                if key is not None and self._cache is not None and isinstance(event, Written):
                    self._cache.put(key, event)
                yield event

    async def _write(self, request: AnswerRequest) -> AsyncGenerator[Event]:
        draft = Draft()
        model = self._generator if request.generate else None
        target = Expansion(request.search)
        if model is not None:
            async with contextlib.aclosing(expand(request, model, self._expansion)) as steps:
                async for step in steps:
                    if isinstance(step, Expansion):
                        target = step
                        continue
                    yield add_expansion(draft, step)
        question = target.search.query
        told = False
        if model is not None and target.route != "retrieve":
            try:
                async with contextlib.aclosing(self._talk(request, target, model, draft)) as events:
                    async for event in events:
                        told = True
                        yield event
                return
            except (GenerationError, CapacityError) as error:
                self._fall_back(error, draft)
                model = None
        response = await self._search(target.search)
        draft.degraded.extend(response.receipt.degraded)
        for stage in response.receipt.stages:
            draft.stages.append(stage)
            yield StageDone(stage)
        yield Found(response.results)
        if model is None:
            written = self._quoted(request, question, response.results, draft)
            yield StageDone(draft.stages[-1])
            yield Piece(written.answer.text, written.answer.kind, restart=told)
            yield written
            return
        async with contextlib.aclosing(
            self._generated(request, question, response.results, model, draft)
        ) as events:
            async for event in events:
                yield event

    # ── with passages ─────────────────────────────────────────────────────

    async def _generated(
        self,
        request: AnswerRequest,
        question: str,
        results: tuple[SearchResult, ...],
        model: Generator,
        draft: Draft,
    ) -> AsyncGenerator[Event]:
        sure = confidence(results)
        if not results or (sure is not None and sure < self._generation.min_confidence):
            written = self._none(question, results, draft, sure)
            yield StageDone(draft.stages[-1])
            yield Piece(written.answer.text, "none")
            yield written
            return
        told = False
        try:
            async with contextlib.aclosing(
                self._synthesized(request, question, results, model, draft)
            ) as events:
                async for event in events:
                    told = told or isinstance(event, Piece)
                    yield event
        except (GenerationError, CapacityError) as error:
            self._fall_back(error, draft)
            written = self._quoted(request, question, results, draft)
            yield StageDone(draft.stages[-1])
            yield Piece(written.answer.text, written.answer.kind, restart=told)
            yield written

    async def _synthesized(
        self,
        request: AnswerRequest,
        question: str,
        results: tuple[SearchResult, ...],
        model: Generator,
        draft: Draft,
    ) -> AsyncGenerator[Event]:
        """The passages' labels, then the answer as it is written; checked at its end."""
        began = perf_counter()
        found = await self._passages(request, results)
        if request.response_mode == "compact":
            packed = await pack(found, self._generation.context_tokens, model.count_tokens)
            found = list(packed.passages)
            yield add_step(draft, "pack", began, packing(packed, self._unit(request)))
        making = await self._prepared(request, question, found, model)
        yield Labelled(making.prompt.passages)
        reply = ModelReply()
        async with contextlib.aclosing(self._told(request, making, model, reply, draft)) as events:
            async for event in events:
                yield event
        self._note_cut(reply.cut, request, draft)
        written = self._checked(question, reply.text, making.prompt.passages, results, draft)
        yield StageDone(draft.stages[-1])
        if written.answer.kind == "none":
            yield Piece(written.answer.text, "none", restart=bool(reply.text))
        turn = await self._turn(question, written, making, reply, model)
        yield replace(written, usage=summed(reply.usages), turn=turn, model=model.model, cut=reply.cut)

    async def _prepared(
        self, request: AnswerRequest, question: str, found: Sequence[ContextPassage], model: Generator
    ) -> Synthesis:
        prepare = await load_synthesis()
        return await prepare(
            question,
            found,
            model,
            mode=request.response_mode,
            budget=self._generation.context_tokens,
            count=model.count_tokens,
            like=replace(_asked(request, (), ""), timeout_s=self._generation.timeout_s),
            history=request.history,
            instruction=_instruction(request),
        )

    async def _told(
        self, request: AnswerRequest, making: Synthesis, model: Generator, reply: ModelReply, draft: Draft
    ) -> AsyncGenerator[Event]:
        """The answer's pieces; of several calls, each that is done before the answer begins is a stage."""
        began = perf_counter()
        groups = len(making.groups)
        done = 0
        async with contextlib.aclosing(streamed(making.stream(), reply)) as told:
            async for one in told:
                if isinstance(one, Piece):
                    yield one
                elif groups > 1 and not reply.text:
                    done += 1
                    usages = [] if one.usage is None else [one.usage]
                    details = {"done": done, "groups": groups, **spent(model.model, usages)}
                    yield add_step(draft, "group", began, details)
                    began = perf_counter()
        details = spent(model.model, reply.usages)
        if request.response_mode != "compact":
            details |= {"mode": request.response_mode, "groups": groups, "unit": self._unit(request)}
        yield add_step(draft, "generate", began, details)

    async def _turn(
        self, question: str, written: Written, making: Synthesis, reply: ModelReply, model: Generator
    ) -> Turn | None:
        """Return what later prompts repeat: the call as it was sent, or what stands for several."""
        prompt = making.prompt
        if len(making.groups) == 1:
            return Turn(prompt.user, reply.text.strip(), prompt.shown)
        said = written.answer.text if written.answer.kind == "generated" else NOT_IN_DOCUMENTS
        budget = self._generation.context_tokens
        try:
            return await condensed_turn(
                question, said, prompt.shown, prompt.ranked, budget, model.count_tokens
            )
        except GenerationError as error:
            # The answer is there; only later prompts go without it.
            log.warning("turn_not_kept reason=%s", error)
            return None

    def _unit(self, request: AnswerRequest) -> PassageUnit:
        return request.passages or self._generation.passages

    async def _passages(
        self, request: AnswerRequest, results: tuple[SearchResult, ...]
    ) -> list[ContextPassage]:
        return await gather_passages(
            results, self._unit(request), tenant=request.search.tenant, read=self._read_windows
        )

    def _fall_back(self, error: GenerationError | CapacityError, draft: Draft) -> None:
        """Note that sentences are quoted instead; raises when that is not allowed."""
        fail_stage("generate", error)
        if self._generation.fallback == "none":
            raise error
        log.warning("generation_failed reason=%s", error)
        draft.degraded.append(f"generate: {error}")

    def _note_cut(self, cut: bool, request: AnswerRequest, draft: Draft) -> None:
        """Note an answer that ends in mid-sentence, so that nobody takes it for the whole."""
        if cut:
            limit = request.max_tokens or self._generation.max_tokens
            draft.degraded.append(f"answer: cut off at the limit of {limit} tokens")

    # ── without passages ──────────────────────────────────────────────────

    async def _talk(
        self, request: AnswerRequest, target: Expansion, model: Generator, draft: Draft
    ) -> AsyncGenerator[Event]:
        """Answer from the conversation alone, or ask back; nothing is cited."""
        began = perf_counter()
        instruction = DIRECT if target.route == "answer" else ASK_BACK
        said = request.said[-_MOST_SAID:]
        messages = (Message("system", instruction), *said, Message("user", request.search.query))
        reply = ModelReply()
        asked = _asked(request, messages, instruction)
        async with contextlib.aclosing(streamed(model.stream(asked), reply)) as told:
            async for one in told:
                if isinstance(one, Piece):
                    yield one
        details = {**spent(model.model, reply.usages), "route": target.route}
        yield add_step(draft, "generate", began, details)
        self._note_cut(reply.cut, request, draft)
        yield Written(
            Answer(reply.text.strip(), (), "generated"),
            (),
            draft.receipt(),
            usage=summed(reply.usages),
            turn=Turn(request.search.query, reply.text.strip()),
            model=model.model,
            question=target.search.query,
            cut=reply.cut,
        )

    def _none(
        self, question: str, results: tuple[SearchResult, ...], draft: Draft, sure: float | None
    ) -> Written:
        details: dict[str, object] = {"kind": "none", "confidence": None if sure is None else round(sure, 4)}
        draft.stages.append(Stage("answer", 0.0, details))
        return Written(Answer(not_found(question), (), "none"), results, draft.receipt(), question=question)

    def _quoted(
        self, request: AnswerRequest, question: str, results: tuple[SearchResult, ...], draft: Draft
    ) -> Written:
        """Quote the best sentences; microseconds, so it stays on the event loop."""
        began = perf_counter()
        answer = extract_answer(question, results, max_sentences=request.max_sentences or MAX_SENTENCES)
        add_step(draft, "answer", began, {"kind": answer.kind, "sentences": len(answer.citations)})
        return Written(answer, results, draft.receipt(), question=question)

    def _checked(
        self,
        question: str,
        said: str,
        passages: Sequence[ContextPassage],
        results: tuple[SearchResult, ...],
        draft: Draft,
    ) -> Written:
        began = perf_counter()
        checked = check_answer(without_links(said), passages, min_support=self._generation.min_support)
        answer = Answer(not_found(question), (), "none")
        if checked.answered:
            answer = Answer(checked.text, checked.citations, "generated")
        add_step(draft, "check", began, verdict(checked))
        return Written(answer, results, draft.receipt(), checked.flaws, tuple(passages), question=question)


async def load_synthesis() -> Callable[..., Awaitable[Synthesis]]:
    """Return what prepares an answer; LlamaIndex takes seconds to import, so a thread does it."""
    module = await in_thread(import_module, "retrieval.generation.synthesis")
    prepare: Callable[..., Awaitable[Synthesis]] = module.prepare
    return prepare


def _asked(request: AnswerRequest, messages: tuple[Message, ...], prefix: str) -> GenerationRequest:
    return GenerationRequest(
        messages=messages,
        tenant=request.search.tenant,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        prefix=prefix,
        span=open_stage("generate"),
    )


def _instruction(request: AnswerRequest) -> str:
    """The fixed instruction, and behind it what the caller adds."""
    return f"{INSTRUCTION}\n\n{request.system}" if request.system else INSTRUCTION
