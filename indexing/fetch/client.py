"""One URL to the bytes behind it: the address checked and pinned, every redirect checked again.

A name is resolved once and the connection goes to the address that was
checked, so that a name server which answers differently the second time
(DNS rebinding) is never asked a second time.  TLS still checks the name.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexing.errors import FetchError, FetchRefusedError
from indexing.fetch.addresses import check_address, networks
from indexing.fetch.kinds import suffix_for
from indexing.fetch.policy import Target, check_url

if TYPE_CHECKING:
    import httpx

    from indexing.fetch.settings import FetchSettings

logger = logging.getLogger(__name__)

Resolve = Callable[[str, int], Awaitable[list[str]]]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECT_S = 10.0
_STEM = re.compile(r"[^\w.-]+")
_HEADERS = {
    "user-agent": "winnow-search",
    "accept": "text/html, application/pdf, text/*, application/*;q=0.8",
    # A compressed answer could unfold to any size.
    "accept-encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came from ``url``, after redirects; the suffix of ``name`` decides the reader."""

    url: str
    name: str
    data: bytes


async def resolve_name(host: str, port: int) -> list[str]:
    """Return the addresses of a name, as the system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def fetch(url: str, settings: FetchSettings, *, resolve: Resolve = resolve_name) -> Fetched:
    """Return what ``url`` leads to, at most ``max_mb`` of it.

    Raises:
        FetchRefusedError: the URL, or one it redirects to, is not allowed, or
            leads to an address that is not public.
        FetchError: no answer, not in time, too large, or nothing that is read.
    """
    try:
        async with asyncio.timeout(settings.timeout_s):
            return await _follow(url, settings, resolve)
    except TimeoutError as error:
        raise FetchError(f"{url} did not come within {settings.timeout_s:g} s") from error


async def _follow(url: str, settings: FetchSettings, resolve: Resolve) -> Fetched:
    import httpx

    limits = httpx.Limits(max_keepalive_connections=0)
    timeout = httpx.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s))
    next_url = url
    trusted = settings.ca_file and ssl.create_default_context(cafile=settings.ca_file)
    # trust_env would send everything through a proxy that resolves names itself.
    async with httpx.AsyncClient(
        trust_env=False, verify=trusted or True, limits=limits, timeout=timeout
    ) as client:
        for _ in range(settings.max_redirects + 1):
            target = check_url(next_url, settings)
            address = await _pinned(target, settings, resolve)
            try:
                async with client.stream(
                    "GET",
                    target.url.copy_with(host=address),
                    headers={**_HEADERS, "host": target.url.netloc.decode("ascii")},
                    extensions={"sni_hostname": target.host},
                ) as answer:
                    if answer.status_code not in _REDIRECTS:
                        return await _body(answer, target, settings)
                    next_url = _location(answer, target, next_url)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise FetchError(f"{target.url}: {error or type(error).__name__}") from error
    raise FetchError(f"{url} redirects more than {settings.max_redirects} times")


async def _pinned(target: Target, settings: FetchSettings, resolve: Resolve) -> str:
    """The address to connect to; a name with one address that is refused is refused."""
    try:
        found = await resolve(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"{target.host} has no address: {error}") from error
    private = networks(settings.private_networks)
    checked = [str(check_address(address, private)) for address in found]
    if not checked:
        raise FetchError(f"{target.host} has no address")
    logger.debug("fetch_pinned host=%s address=%s", target.host, checked[0])
    return checked[0]


def _location(answer: httpx.Response, target: Target, current: str) -> str:
    """Where a redirect leads; never from https to http."""
    header = answer.headers.get("location", "")
    if not header:
        raise FetchError(f"{current} redirects without saying where")
    following = target.url.join(header)
    if target.url.scheme == "https" and following.scheme == "http":
        raise FetchRefusedError(f"{current} redirects from https to http")
    return str(following)


async def _body(answer: httpx.Response, target: Target, settings: FetchSettings) -> Fetched:
    limit = int(settings.max_mb * 1e6)
    if answer.status_code != 200:
        raise FetchError(f"{target.url} answered {answer.status_code}")
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise FetchError(f"{target.url} answered compressed ({coding[:40]}), which was not asked for")
    too_large = FetchError(f"{target.url} holds more than {settings.max_mb:g} MB (fetch.max_mb)")
    declared = answer.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    suffix = suffix_for(answer.headers.get("content-type", ""), target.url.path)
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > limit:
            raise too_large
    return Fetched(str(target.url), _stem(target.url.path) + suffix, bytes(data))


def _stem(url_path: str) -> str:
    """A file name from the URL's last part: letters, digits, dot, dash; never hidden, never a path."""
    last = url_path.rstrip("/").rsplit("/", 1)[-1]
    return _STEM.sub("-", last.rpartition(".")[0] or last).strip(".-")[:80] or "index"
