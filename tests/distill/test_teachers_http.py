"""Every way in which a server or the network fails becomes one of the room's errors."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from pydantic import SecretStr

from distill.errors import TeacherAnswerError, TeacherError, TeacherRefusedError, TeacherUnavailableError
from distill.teachers.http import Answer, Endpoint, Usage
from distill.teachers.prefix_cache import PrefixCache, read_prefix_cache
from distill.teachers.settings import TeacherSettings
from tests.fakes.teacher_server import FakeTeacherServer

URL = "http://teacher.test/score"


class Anything(Answer):
    value: int = 0


def asked(handler, url: str = URL) -> Anything:
    """The answer of an endpoint whose network is ``handler``."""

    async def go() -> Anything:
        endpoint = Endpoint(url, api_key=SecretStr("k"), timeout_s=1.0)
        endpoint._client._transport = httpx.MockTransport(handler)
        try:
            return await endpoint.post(url, {"a": 1}, Anything)
        finally:
            await endpoint.aclose()

    return asyncio.run(go())


def answering(status: int, body: str = "", **headers: str):
    return lambda _: httpx.Response(
        status, text=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_statuses_that_say_later(status: int) -> None:
    with pytest.raises(TeacherUnavailableError, match=f"answered {status}: wait") as caught:
        asked(answering(status, '{"error": {"message": "wait"}}', Retry_After="2.5"))
    assert caught.value.retryable
    assert caught.value.retry_after_s == 2.5


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413, 422, 501])
def test_statuses_that_say_never(status: int) -> None:
    with pytest.raises(TeacherRefusedError, match=f"answered {status}: no such thing") as caught:
        asked(answering(status, '{"detail": "no such thing"}', location="http://elsewhere.test"))
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), ("-3", 0.0), ("999999", 3600.0), ("soon", None), ("nan", None), ("", None)],
)
def test_retry_after_as_a_number(header: str, expected: float | None) -> None:
    with pytest.raises(TeacherUnavailableError) as caught:
        asked(answering(429, Retry_After=header))
    assert caught.value.retry_after_s == expected


def test_retry_after_as_a_date() -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    with pytest.raises(TeacherUnavailableError) as caught:
        asked(answering(503, Retry_After=when))
    assert 30.0 < (caught.value.retry_after_s or 0.0) <= 40.0


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"x"', '{"value": "many"}', "<html>"])
def test_a_body_that_is_none_of_the_kind(body: str) -> None:
    with pytest.raises(TeacherAnswerError, match="cannot be read"):
        asked(answering(200, body))
    assert asked(answering(200, '{"value": 3, "more": 1}')).value == 3


def httpx_errors() -> list[type[Exception]]:
    return [
        kind
        for _, kind in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(kind, Exception) and kind is not httpx.HTTPStatusError
    ]


@pytest.mark.parametrize("kind", httpx_errors(), ids=lambda kind: kind.__name__)
def test_every_exception_of_httpx_is_translated(kind: type[Exception]) -> None:
    takes_message = "message" in inspect.signature(kind.__init__).parameters

    def fail(_: httpx.Request) -> httpx.Response:
        raise kind("the line is cut") if takes_message else kind()

    with pytest.raises(TeacherError) as caught:
        asked(fail)
    assert isinstance(caught.value.__cause__, kind)
    permanent = (
        httpx.InvalidURL,
        httpx.UnsupportedProtocol,
        httpx.TooManyRedirects,
        httpx.CookieConflict,
        httpx.DecodingError,
    )
    assert caught.value.retryable is not issubclass(kind, permanent)


@pytest.mark.parametrize("url", ["ftp://teacher.test", "teacher.test/score", "http://", "http:///v1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        TeacherSettings(url=url)


def test_an_address_that_only_the_client_sees_is_none() -> None:
    with pytest.raises(TeacherRefusedError, match="no http address"):
        asked(answering(200, "{}"), "http://[::1")


@pytest.mark.parametrize(
    ("url", "root", "openai"),
    [
        ("http://h:1", "http://h:1", "http://h:1/v1"),
        ("http://h:1/", "http://h:1", "http://h:1/v1"),
        ("http://h:1/v1/", "http://h:1", "http://h:1/v1"),
        ("https://h/api/v3", "https://h/api/v3", "https://h/api/v3"),
    ],
)
def test_the_url_may_be_the_root_or_the_openai_base(url: str, root: str, openai: str) -> None:
    endpoint = Endpoint(url, api_key=None, timeout_s=1.0)
    assert (endpoint.root, endpoint.openai) == (root, openai)


def test_nobody_at_the_address() -> None:
    with FakeTeacherServer() as server:
        url = server.url

    async def go() -> None:
        endpoint = Endpoint(url, api_key=None, timeout_s=1.0)
        try:
            await endpoint.post(f"{url}/score", {}, Anything)
        finally:
            await endpoint.aclose()

    with pytest.raises(TeacherUnavailableError, match="is not reached"):
        asyncio.run(go())


def test_usage_with_what_vllm_leaves_null() -> None:
    assert Usage.model_validate({"prompt_tokens": 3, "prompt_tokens_details": None}).cached_tokens == 0
    details = {"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": {"cached_tokens": 4}}
    assert Usage.model_validate(details).cached_tokens == 4
    assert Usage.model_validate({"prompt_tokens_details": {"cached_tokens": None}}).cached_tokens == 0


def test_the_prefix_cache_is_read_from_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "# HELP vllm:prefix_cache_queries_total tokens\n"
        'vllm:prefix_cache_queries_total{engine="0",model_name="m"} 800.0\n'
        'vllm:prefix_cache_queries_total{engine="1",model_name="m"} 200.0\n'
        'vllm:prefix_cache_hits_total{engine="0",model_name="m"} 2.5e+02\n'
        'vllm:external_prefix_cache_hits_total{engine="0"} 7.0\n'
    )
    pages = iter([text, "nothing here"])
    monkeypatch.setattr(
        httpx.AsyncHTTPTransport,
        "handle_async_request",
        lambda self, request: _reply(httpx.Response(200, text=next(pages))),
    )
    found = asyncio.run(read_prefix_cache(TeacherSettings(url="http://t.test/v1")))
    assert found == PrefixCache(1000.0, 250.0)
    assert found.since(PrefixCache(600.0, 150.0)).share == 0.25
    assert PrefixCache(0.0, 0.0).share == 0.0
    with pytest.raises(TeacherAnswerError, match="no counters"):
        asyncio.run(read_prefix_cache(TeacherSettings(url="http://t.test")))


async def _reply(response: httpx.Response) -> httpx.Response:
    return response
