"""A language model behind an OpenAI-compatible HTTP server: vLLM, or any other.

vLLM's own additions are used where they are: ``cache_salt`` in the request,
``prompt_tokens_details.cached_tokens`` in the usage (with
``--enable-prompt-tokens-details``), ``/tokenize``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import EventSource, SSEError

from indexing.errors import (
    GarbledAnswerError,
    GenerationError,
    GenerationTimeoutError,
    GenerationUnavailableError,
    QueueFullError,
    SettingsError,
)
from indexing.settings import GenerationSettings
from retrieval.generation.protocol import Chunk, Completion, GenerationRequest, Message, TokenCounts, Usage
from retrieval.generation.replicas import Replicas
from retrieval.generation.salts import cache_salt, salt_secret
from retrieval.generation.tokens import TokenCounter
from retrieval.generation.wire import parse_event, parse_models, request_body
from retrieval.spans import Span, span

log = logging.getLogger(__name__)

# Answers of a replica that another one may take instead.
_TRY_ANOTHER = frozenset({429, 502, 503, 504})
_ERROR_CHARS = 300
_PROBE = GenerationRequest((Message("user", "Repeat: one two three"),), max_tokens=4, timeout_s=4.0)


def open_generator(
    settings: GenerationSettings, home: Path, *, transport: httpx.AsyncBaseTransport | None = None
) -> HttpGenerator | None:
    """Return the configured model, or None when no address is named; nothing is sent yet.

    Raises:
        SettingsError: an address is no http URL, or the salt's secret is too short.
    """
    if settings.url is None:
        return None
    return HttpGenerator(settings, salt_secret(_secret(settings), home), transport=transport)


def _secret(settings: GenerationSettings) -> str | None:
    return None if settings.salt_secret is None else settings.salt_secret.get_secret_value()


class HttpGenerator:
    """The ``Generator`` protocol over HTTP; one event loop, any number of tasks.

    A replica that refuses, or does not connect, is passed over for the next
    one as long as no token came; after that an answer is never begun again.
    """

    def __init__(
        self,
        settings: GenerationSettings,
        secret: bytes,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._replicas = Replicas(_urls(settings.url or ""))
        headers = {}
        if settings.api_key is not None:
            headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        limits = settings.first_token_timeout_s
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(limits, connect=settings.connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=settings.concurrency),
            transport=transport,
            trust_env=False,
        )
        self._counter = TokenCounter(self._client, settings.tokenizer)
        self._model = settings.model
        self._running = 0
        self._doubted = False  # the last answer failed

    @property
    def model(self) -> str:
        """The model's name; "unknown" until the server was asked and no name is configured."""
        return self._model or "unknown"

    @property
    def running(self) -> int:
        """Answers being written now."""
        return self._running

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk]:
        """Yield the answer as it is written; see :class:`Generator` for what it raises.

        Raises:
            QueueFullError: ``generation.concurrency`` answers are being written.
        """
        if self._running >= self._settings.concurrency:
            raise QueueFullError(f"{self._running} answers are being written; at most that many at once")
        self._running += 1
        limit = request.timeout_s or self._settings.timeout_s
        deadline = asyncio.get_running_loop().time() + limit
        try:
            body = request_body(request, self._settings, await self._name(), self._salt(request.tenant))
            async with contextlib.aclosing(self._attempts(request, body)) as chunks:
                while True:
                    try:
                        # Around each step, not the whole: a timeout scope must not stay
                        # open over a yield, where it would cancel the reader's own work.
                        async with asyncio.timeout_at(deadline):
                            chunk = await anext(chunks)
                    except TimeoutError as error:
                        raise GenerationTimeoutError(f"the answer was not done within {limit:g} s") from error
                    except StopAsyncIteration:
                        self._doubted = False
                        return
                    yield chunk
        except GenerationError:
            self._doubted = True
            raise
        finally:
            self._running -= 1

    async def complete(self, request: GenerationRequest) -> Completion:
        """Return the whole answer."""
        pieces: list[str] = []
        finish, usage = "", None
        async with contextlib.aclosing(self.stream(request)) as chunks:
            async for chunk in chunks:
                pieces.append(chunk.text)
                finish = chunk.finish or finish
                usage = chunk.usage or usage
        return Completion("".join(pieces), finish, usage)

    async def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Return the tokens of each text (see :class:`TokenCounter`)."""
        try:
            return await self._counter.count(texts, self._replicas.order("")[0], await self._name())
        except GenerationError:
            self._doubted = True
            raise

    async def check(self) -> str:
        """Return a line naming the model and the replicas that answer.

        After an answer that failed, one of a few tokens is asked for first.
        """
        answering: list[str] = []
        reasons: list[str] = []
        for url in self._replicas.urls:
            try:
                listed = await self._listed(url)
            except GenerationError as error:
                self._replicas.failed(url)
                reasons.append(str(error))
                continue
            if self._model is not None and self._model not in listed:
                reasons.append(f"{url} serves {', '.join(listed)}, not {self._model}")
                continue
            self._replicas.answered(url)
            answering.append(url)
        if not answering:
            raise GenerationUnavailableError("; ".join(reasons))
        if self._doubted:
            # A server may list its models and write nothing; asked only then, since it costs a turn.
            await self.count_tokens(["one"])
            await self.complete(_PROBE)
        return f"{await self._name()} on {len(answering)} of {len(self._replicas.urls)} replicas"

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    # ── one request ───────────────────────────────────────────────────────

    def _salt(self, tenant: str) -> str:
        return cache_salt(self._secret, tenant)

    async def _name(self) -> str:
        if self._model is None:
            reasons = []
            for url in self._replicas.order(""):
                try:
                    self._model = (await self._listed(url))[0]
                    return self._model
                except GenerationUnavailableError as error:
                    reasons.append(str(error))
            raise GenerationUnavailableError("; ".join(reasons))
        return self._model

    async def _listed(self, url: str) -> list[str]:
        try:
            answer = await self._client.get(f"{url}/v1/models", timeout=self._settings.connect_timeout_s * 2)
        except httpx.HTTPError as error:
            raise GenerationUnavailableError(f"{url} does not answer: {_said(error)}") from error
        if answer.status_code != httpx.codes.OK:
            raise GenerationUnavailableError(f"{url}/v1/models answered {answer.status_code}")
        return parse_models(answer.content, url)

    async def _attempts(self, request: GenerationRequest, body: dict[str, Any]) -> AsyncGenerator[Chunk]:
        """Yield from the first replica that begins to answer."""
        reasons: list[str] = []
        prefix = request.prefix or request.messages[0].content
        for url in self._replicas.order(prefix):
            began = False
            try:
                async with contextlib.aclosing(self._once(url, body, request.span)) as chunks:
                    async for chunk in chunks:
                        began = True
                        yield chunk
            except GenerationUnavailableError as error:
                self._replicas.failed(url)
                if began:
                    raise
                log.warning("generation_failed replica=%s reason=%s", url, error)
                reasons.append(str(error))
                continue
            self._replicas.answered(url)
            return
        raise GenerationUnavailableError("; ".join(reasons))

    async def _once(self, url: str, body: dict[str, Any], stage: Span | None) -> AsyncGenerator[Chunk]:
        started = time.perf_counter()
        try:
            with span("chat", parent=stage, kind="client") as call:
                headers = {} if call is None else call.headers()
                async with self._client.stream(
                    "POST", f"{url}/v1/chat/completions", json=body, headers=headers
                ) as answer:
                    await _refuse_failure(url, answer)
                    async for chunk in _chunks(url, answer, started):
                        yield chunk
        except httpx.ReadTimeout as error:
            raise GenerationTimeoutError(
                f"{url} sent nothing for {self._settings.first_token_timeout_s:g} s"
            ) from error
        except httpx.HTTPError as error:
            raise GenerationUnavailableError(f"{url} does not answer: {_said(error)}") from error


async def _chunks(url: str, answer: httpx.Response, started: float) -> AsyncGenerator[Chunk]:
    """Yield the pieces of one streamed answer, the last with the usage."""
    first_at: float | None = None
    finish: str | None = None
    usage: Usage | None = None
    try:
        async for event in EventSource(answer).aiter_sse():
            if event.data == "[DONE]":
                break
            parsed = parse_event(event.data, url)
            finish = parsed.finish or finish
            usage = parsed.usage or usage
            if parsed.text:
                if first_at is None:
                    first_at = time.perf_counter()
                yield Chunk(parsed.text)
    except (SSEError, UnicodeDecodeError) as error:
        raise GarbledAnswerError(f"{url} sent no event stream: {error}") from error
    if finish is None:
        raise GarbledAnswerError(f"{url} ended the answer half-way, without a reason")
    yield Chunk(finish=finish, usage=_timed(usage, url, started, first_at))


def _timed(usage: Usage | None, url: str, started: float, first_at: float | None) -> Usage | None:
    if usage is None:
        return None
    rate = None
    if first_at is not None and usage.completion_tokens > 1:
        rate = (usage.completion_tokens - 1) / max(time.perf_counter() - first_at, 1e-9)
    first_ms = None if first_at is None else (first_at - started) * 1000
    return Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, first_ms, rate, url)


async def _refuse_failure(url: str, answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.OK:
        return
    said = (await answer.aread())[: _ERROR_CHARS * 4].decode("utf-8", "replace")[:_ERROR_CHARS]
    line = f"{url} answered {answer.status_code}: {said}"
    if answer.status_code in _TRY_ANOTHER:
        raise GenerationUnavailableError(line)
    raise GenerationError(line)


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _urls(joined: str) -> list[str]:
    """Return the base addresses; ``/v1`` at the end is taken off, people paste it."""
    urls = [one.strip().rstrip("/").removesuffix("/v1") for one in joined.split(",") if one.strip()]
    for url in urls:
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise SettingsError(f"generation.url names {url!r}; accepted is http://HOST:PORT")
    if not urls:
        raise SettingsError("generation.url is empty; accepted is http://HOST:PORT, several by comma")
    return list(dict.fromkeys(urls))
