"""The steps before a search: rewrite, route, and the branches, each with its receipt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from indexing.settings import ExpansionSettings
from retrieval.expansion import (
    Expanded,
    Route,
    classify,
    decompose,
    hypothetical_passage,
    paraphrases,
    standalone_question,
)
from retrieval.generation.protocol import Generator
from retrieval.records import Branch, SearchRequest
from serving.answering.records import AnswerRequest


@dataclass(slots=True)
class Expansion:
    """What is searched for in the end, and where the question goes."""

    search: SearchRequest
    route: Route = "retrieve"


async def expand(
    request: AnswerRequest, generator: Generator, settings: ExpansionSettings
) -> AsyncGenerator[Expanded | Expansion]:
    """Yield each step as it is done, and last the :class:`Expansion`.

    Rewriting comes first, since the others read the question; they run at the
    same time.
    """
    wanted, tenant, limit = request.expand, request.search.tenant, settings.timeout_s
    search = request.search
    if wanted.rewrite and request.said:
        step = await standalone_question(
            generator, search.query, request.said, tenant=tenant, timeout_s=limit
        )
        if step.texts:
            search = replace(search, query=step.texts[0])
        yield step
    route: Route = "retrieve"
    if wanted.classify:
        route, step = await classify(generator, search.query, tenant=tenant, timeout_s=limit)
        yield step
    if route == "retrieve":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in _calls(request, search.query, generator, settings)]
        steps = [task.result() for task in tasks]
        for step in steps:
            yield step
        search = replace(search, branches=(*search.branches, *_branches(steps, settings.branch_weight)))
    yield Expansion(search, route)


def _calls(
    request: AnswerRequest, question: str, generator: Generator, settings: ExpansionSettings
) -> list[Coroutine[Any, Any, Expanded]]:
    wanted, tenant, limit = request.expand, request.search.tenant, settings.timeout_s
    calls: list[Coroutine[Any, Any, Expanded]] = []
    if wanted.hyde:
        calls.append(hypothetical_passage(generator, question, tenant=tenant, timeout_s=limit))
    if wanted.multi_query:
        calls.append(
            paraphrases(generator, question, count=wanted.multi_query, tenant=tenant, timeout_s=limit)
        )
    if wanted.decompose:
        calls.append(decompose(generator, question, tenant=tenant, timeout_s=limit))
    return calls


def _branches(steps: list[Expanded], weight: float) -> list[Branch]:
    return [
        Branch(step.name, text, "document" if step.name == "hyde" else "query", weight)
        for step in steps
        for text in step.texts
    ]
