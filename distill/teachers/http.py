"""One server: requests out, parsed answers or this room's errors back."""

from __future__ import annotations

import email.utils
import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from distill.errors import TeacherAnswerError, TeacherError, TeacherRefusedError, TeacherUnavailableError

logger = logging.getLogger(__name__)

# 408, 425 and 429 say "later"; of the 5xx, 501 and 505 say "never".
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT_S = 3600.0


class Answer(BaseModel):
    """Base of the answers: fields that are not used are let through."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Details(Answer):
    cached_tokens: int | None = None


class Usage(Answer):
    """Token counts as OpenAI's API gives them; vLLM sends null for what it does not count."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None

    @property
    def cached_tokens(self) -> int:
        return (self.prompt_tokens_details.cached_tokens or 0) if self.prompt_tokens_details else 0


AnswerType = TypeVar("AnswerType", bound=Answer)


class Endpoint:
    """A connection pool to one server.

    ``url`` may be the server's root or its OpenAI base (``.../v1``).
    Redirects are not followed: the key would go with them.
    """

    def __init__(self, url: str, *, api_key: SecretStr | None, timeout_s: float) -> None:
        trimmed = url.rstrip("/")
        self.root = trimmed.removesuffix("/v1")
        # A base with a path of its own (".../v1beta/openai") stands as given.
        has_path = "/" in trimmed.partition("://")[2]
        self.openai = trimmed if has_path else f"{trimmed}/v1"
        headers = {"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout_s, follow_redirects=False)
        self._timeout_s = timeout_s

    async def aclose(self) -> None:
        await self._client.aclose()

    async def post(self, url: str, body: Mapping[str, Any], kind: type[AnswerType]) -> AnswerType:
        """Return the answer to ``body``, checked against ``kind``.

        Raises:
            TeacherUnavailableError: no connection, a time-out, 429, most of 5xx.
            TeacherRefusedError: any other status that is not 200, an address that is none.
            TeacherAnswerError: the body is not JSON, or not of the kind.
        """
        try:
            reply = await self._client.post(url, json=dict(body))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
            raise self._translated(url, error) from error
        if reply.status_code != httpx.codes.OK:
            raise _refusal(url, reply)
        try:
            return kind.model_validate_json(reply.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise TeacherAnswerError(
                f"{url} answered what cannot be read: {where + ': ' if where else ''}{first['msg']}"
            ) from error

    def _translated(self, url: str, error: Exception) -> TeacherError:
        if isinstance(error, httpx.TimeoutException):
            return TeacherUnavailableError(f"{url} did not answer within {self._timeout_s:g} s")
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return TeacherRefusedError(f"{url!r} is no http address: {error}")
        if isinstance(error, httpx.TooManyRedirects | httpx.CookieConflict | httpx.DecodingError):
            return TeacherAnswerError(f"{url} answered what cannot be read: {error}")
        return TeacherUnavailableError(f"{url} is not reached: {error or type(error).__name__}")


def _refusal(url: str, reply: httpx.Response) -> TeacherError:
    message = f"{url} answered {reply.status_code}: {_said(reply)}"
    if reply.status_code in _LATER:
        return TeacherUnavailableError(message, retry_after_s=_retry_after(reply.headers.get("retry-after")))
    return TeacherRefusedError(message)


def _said(reply: httpx.Response) -> str:
    """The server's own words: vLLM and OpenAI put them into error.message, FastAPI into detail."""
    try:
        body = reply.json()
        error = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
        text = error.get("message", error) if isinstance(error, dict) else error
    except ValueError:
        text = reply.text
    return " ".join(str(text).split())[:300]


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait from a Retry-After header, a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        wait = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        # A date in GMT written as "-0000" comes back without a zone.
        wait = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), _LONGEST_WAIT_S) if math.isfinite(wait) else None
