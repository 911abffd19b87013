"""One short call of the model with a limit, after which the plain question must do."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from time import perf_counter

from indexing.errors import CapacityError, GenerationError
from retrieval.expansion.records import Expanded
from retrieval.generation.citations import strip_thinking
from retrieval.generation.protocol import GenerationRequest, Generator, Message
from retrieval.spans import span_around

log = logging.getLogger(__name__)

# "- ", "2. ", "2) ", "2、"; but not the number that begins "2023年" or "3.5 mm".
_LIST_MARK = re.compile(r"^\s*(?:[-*•]\s*|\d{1,2}(?:[.)]\s+|[）、]\s*))")


async def ask(
    name: str,
    generator: Generator,
    instruction: str,
    text: str,
    parse: Callable[[str], tuple[str, ...]],
    *,
    tenant: str,
    timeout_s: float,
    max_tokens: int,
) -> Expanded:
    """Return what ``parse`` makes of the model's reply, or the reason there is nothing.

    The instruction is the same for everyone and comes first, so it is cached
    after the first question.  ``parse`` raises ValueError with the reason when
    the reply cannot be used.
    """
    began = perf_counter()
    request = GenerationRequest(
        messages=(Message("system", instruction), Message("user", text)),
        tenant=tenant,
        max_tokens=max_tokens,
        temperature=0.0,
        prefix=instruction,
        timeout_s=timeout_s,
    )
    try:
        with span_around(name):
            async with asyncio.timeout(timeout_s):
                reply = await generator.complete(request)
            texts = parse(strip_thinking(reply.text))
    except TimeoutError:
        return _fallen(name, began, f"not done within {timeout_s:g} s")
    except (GenerationError, CapacityError) as error:
        return _fallen(name, began, str(error))
    except ValueError as error:
        # The reason may quote the reply, which is made of the question: for the caller, not for the log.
        return _fallen(name, began, str(error), logged="the reply is of no use")
    return Expanded(name, texts, (perf_counter() - began) * 1000, reply.usage)


def _fallen(name: str, began: float, reason: str, logged: str = "") -> Expanded:
    log.warning("expansion_failed name=%s reason=%s", name, logged or reason)
    return Expanded(name, (), (perf_counter() - began) * 1000, fell_back=reason)


def lines_of(reply: str, *, most: int, without: str) -> tuple[str, ...]:
    """Return up to ``most`` distinct lines, list marks taken off, none equal to ``without``.

    Raises:
        ValueError: no line is left.
    """
    seen = {without.strip().casefold()}
    found: list[str] = []
    for line in reply.splitlines():
        text = _LIST_MARK.sub("", line).strip().strip('"“”')
        if text and text.casefold() not in seen:
            seen.add(text.casefold())
            found.append(text)
    if not found:
        raise ValueError("the model gave no other wording")
    return tuple(found[:most])
