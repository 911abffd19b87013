"""Writes one answer as a stream of events; every path ends in a :class:`Written` or an error."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from indexing.errors import CapacityError, GenerationError
from indexing.settings import ExpansionSettings, GenerationSettings
from retrieval.answer import MAX_SENTENCES, extract_answer, not_found
from retrieval.expansion import Expanded
from retrieval.generation.citations import CheckedAnswer, check_answer
from retrieval.generation.prompts import INSTRUCTION, ContextPassage, Packed, Turn, build_prompt, pack
from retrieval.generation.protocol import GenerationRequest, Generator, Message, Usage
from retrieval.records import Answer, Receipt, SearchRequest, SearchResponse, SearchResult, Stage
from serving.answering.cache import AnswerCache
from serving.answering.confidence import confidence
from serving.answering.expanding import Expansion, expand
from serving.answering.records import AnswerRequest, Draft, Event, Found, Piece, StageDone, Written
from serving.answering.thinking import ThinkingFilter

log = logging.getLogger(__name__)

Search = Callable[[SearchRequest], Awaitable[SearchResponse]]

DIRECT = "Answer the user briefly, in their language, without links, images or HTML."
ASK_BACK = (
    "The user's question cannot be searched for: it is not clear what it is about. "
    "Ask one short question back, in their language."
)


class AnswerWriter:
    """Writes answers; safe to share between requests.

    Args:
        search: runs a search and records it.
        generator: the language model; None quotes sentences instead.
        generation: budgets, thresholds and what to do when the model fails.
        expansion: limits of the steps before the search.
        cache: keeps whole answers; None keeps none.
    """

    def __init__(
        self,
        search: Search,
        generator: Generator | None,
        generation: GenerationSettings,
        expansion: ExpansionSettings,
        cache: AnswerCache | None = None,
    ) -> None:
        self._cache = cache
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
                    yield _noted(draft, step)
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
            steps = self._compact if request.response_mode == "compact" else self._synthesized
            async with contextlib.aclosing(steps(request, question, results, model, draft)) as events:
                async for event in events:
                    told = told or isinstance(event, Piece)
                    yield event
        except (GenerationError, CapacityError) as error:
            self._fall_back(error, draft)
            written = self._quoted(request, question, results, draft)
            yield StageDone(draft.stages[-1])
            yield Piece(written.answer.text, written.answer.kind, restart=told)
            yield written

    async def _compact(
        self,
        request: AnswerRequest,
        question: str,
        results: tuple[SearchResult, ...],
        model: Generator,
        draft: Draft,
    ) -> AsyncGenerator[Event]:
        """One prompt, its answer streamed."""
        began = perf_counter()
        found = [ContextPassage.of(result, rank) for rank, result in enumerate(results, start=1)]
        packed = await pack(found, self._generation.context_tokens, model.count_tokens)
        yield _step(draft, "pack", began, _packing(packed))
        prompt = build_prompt(
            question, packed.passages, history=request.history, instruction=_instruction(request)
        )
        began = perf_counter()
        reply = _Reply()
        asked = _asked(request, prompt.messages, prompt.prefix)
        async with contextlib.aclosing(_streamed(model, asked, reply)) as pieces:
            async for piece in pieces:
                yield piece
        yield _step(draft, "generate", began, _spent(model.model, reply.usages))
        written = self._checked(question, reply.text, prompt.passages, results, draft)
        turn = Turn(prompt.user, reply.text.strip(), prompt.shown)
        yield StageDone(draft.stages[-1])
        if written.answer.kind == "none":
            yield Piece(written.answer.text, "none", restart=bool(reply.text))
        yield replace(written, usage=_summed(reply.usages), turn=turn, model=model.model)

    async def _synthesized(
        self,
        request: AnswerRequest,
        question: str,
        results: tuple[SearchResult, ...],
        model: Generator,
        draft: Draft,
    ) -> AsyncGenerator[Event]:
        """Several calls over all passages, told when the last is done.

        The conversation is in the question, which was made to stand alone; the
        calls do not repeat its turns, which would crowd out the passages.
        """
        from retrieval.generation.synthesis import synthesize

        began = perf_counter()
        found = [ContextPassage.of(result, rank) for rank, result in enumerate(results, start=1)]
        made = await synthesize(
            question,
            found,
            model,
            mode=request.response_mode,
            budget=self._generation.context_tokens,
            count=model.count_tokens,
            tenant=request.search.tenant,
            instruction=_instruction(request),
        )
        details = {**_spent(model.model, made.usages), "mode": request.response_mode, "groups": made.groups}
        yield _step(draft, "generate", began, details)
        written = self._checked(question, made.text, made.passages, results, draft)
        yield StageDone(draft.stages[-1])
        yield Piece(written.answer.text, written.answer.kind)
        yield replace(written, usage=_summed(made.usages), model=model.model)

    def _fall_back(self, error: GenerationError | CapacityError, draft: Draft) -> None:
        """Note that sentences are quoted instead; raises when that is not allowed."""
        if self._generation.fallback == "none":
            raise error
        log.warning("generation_failed reason=%s", error)
        draft.degraded.append(f"generate: {error}")

    # ── without passages ──────────────────────────────────────────────────

    async def _talk(
        self, request: AnswerRequest, target: Expansion, model: Generator, draft: Draft
    ) -> AsyncGenerator[Event]:
        """Answer from the conversation alone, or ask back; nothing is cited."""
        began = perf_counter()
        instruction = DIRECT if target.route == "answer" else ASK_BACK
        messages = (Message("system", instruction), *request.said, Message("user", request.search.query))
        reply = _Reply()
        asked = _asked(request, messages, instruction)
        async with contextlib.aclosing(_streamed(model, asked, reply)) as pieces:
            async for piece in pieces:
                yield piece
        details = {**_spent(model.model, reply.usages), "route": target.route}
        yield _step(draft, "generate", began, details)
        yield Written(
            Answer(reply.text.strip(), (), "generated"),
            (),
            draft.receipt(),
            usage=_summed(reply.usages),
            model=model.model,
            question=target.search.query,
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
        _step(draft, "answer", began, {"kind": answer.kind, "sentences": len(answer.citations)})
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
        checked = check_answer(said, passages, min_support=self._generation.min_support)
        answer = Answer(not_found(question), (), "none")
        if checked.answered:
            answer = Answer(checked.text, checked.citations, "generated")
        _step(draft, "check", began, _verdict(checked))
        return Written(answer, results, draft.receipt(), checked.flaws, tuple(passages), question=question)


def _noted(draft: Draft, step: Expanded) -> StageDone:
    stage = step.stage()
    draft.stages.append(stage)
    if step.fell_back is not None:
        draft.degraded.append(f"{step.name}: {step.fell_back}")
    return StageDone(stage)


def _step(draft: Draft, name: str, began: float, details: dict[str, object]) -> StageDone:
    stage = Stage(name, round((perf_counter() - began) * 1000, 3), details)
    draft.stages.append(stage)
    return StageDone(stage)


@dataclass(slots=True)
class _Reply:
    """What the model has said so far."""

    text: str = ""
    usages: list[Usage] = field(default_factory=list)


async def _streamed(model: Generator, asked: GenerationRequest, reply: _Reply) -> AsyncGenerator[Piece]:
    """Yield the model's words as they come, its thinking left out, and gather them in ``reply``."""
    shown = ThinkingFilter()
    async with contextlib.aclosing(model.stream(asked)) as chunks:
        async for chunk in chunks:
            if chunk.usage is not None:
                reply.usages.append(chunk.usage)
            text = shown.feed(chunk.text)
            if text:
                reply.text += text
                yield Piece(text, "generated")
    rest = shown.flush()
    if rest:
        reply.text += rest
        yield Piece(rest, "generated")


def _asked(request: AnswerRequest, messages: tuple[Message, ...], prefix: str) -> GenerationRequest:
    return GenerationRequest(
        messages=messages,
        tenant=request.search.tenant,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        prefix=prefix,
    )


def _instruction(request: AnswerRequest) -> str:
    """The fixed instruction, and behind it what the caller adds."""
    return f"{INSTRUCTION}\n\n{request.system}" if request.system else INSTRUCTION


def _packing(packed: Packed) -> dict[str, object]:
    return {
        "passages": len(packed.passages),
        "tokens": packed.tokens,
        "dropped": packed.dropped,
        "cut": packed.cut,
        "exact": packed.exact,
    }


def _spent(model: str, usages: Sequence[Usage]) -> dict[str, object]:
    """What the calls took, by the server's own counts; cached tokens only where it says them."""
    details: dict[str, object] = {"model": model, "calls": len(usages)}
    total = _summed(usages)
    if total is None:
        return details
    details["prompt_tokens"] = total.prompt_tokens
    details["completion_tokens"] = total.completion_tokens
    if total.cached_tokens is not None:
        details["cached_tokens"] = total.cached_tokens
    if total.first_token_ms is not None:
        details["first_token_ms"] = round(total.first_token_ms, 1)
    if total.tokens_per_s is not None:
        details["tokens_per_s"] = round(total.tokens_per_s, 1)
    return details


def _summed(usages: Sequence[Usage]) -> Usage | None:
    if not usages:
        return None
    cached = [one.cached_tokens for one in usages if one.cached_tokens is not None]
    rates = [one.tokens_per_s for one in usages if one.tokens_per_s is not None]
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in usages),
        completion_tokens=sum(one.completion_tokens for one in usages),
        cached_tokens=sum(cached) if cached else None,
        first_token_ms=usages[0].first_token_ms,
        tokens_per_s=sum(rates) / len(rates) if rates else None,
        replica=usages[-1].replica,
    )


def _verdict(checked: CheckedAnswer) -> dict[str, object]:
    kinds = [flaw.kind for flaw in checked.flaws]
    return {
        "citations": len(checked.citations),
        "flaws": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "answered": checked.answered,
    }
