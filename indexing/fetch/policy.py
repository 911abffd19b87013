"""Whether a URL may be fetched at all, before any name is resolved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexing.errors import FetchRefusedError

if TYPE_CHECKING:  # httpx takes a tenth of a second to import
    import httpx

    from indexing.fetch.settings import FetchSettings

_MAX_URL_CHARS = 2000
# White space, controls and backslashes are read differently by different parsers.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that the settings allow: its own host name, lower case, and its port."""

    url: httpx.URL
    host: str
    port: int


def is_url(text: str) -> bool:
    """Whether a command line's argument is meant as a URL.

    >>> is_url("https://example.org/a.pdf"), is_url("docs/http.md")
    (True, False)
    """
    return text.lower().startswith(("https://", "http://"))


def check_url(text: str, settings: FetchSettings) -> Target:
    """Return what ``text`` names when the settings allow it.

    Raises:
        FetchRefusedError: fetching is off, or the scheme, host, port or form
            of the URL is not allowed.
    """
    import httpx

    if not settings.allowed_hosts:
        raise FetchRefusedError(
            "nothing is fetched by URL: name the hosts that may be in fetch.allowed_hosts "
            "(WINNOW_FETCH__ALLOWED_HOSTS='[\"example.org\"]')"
        )
    if len(text) > _MAX_URL_CHARS or _AMBIGUOUS.search(text):
        raise FetchRefusedError(
            f"a URL has at most {_MAX_URL_CHARS} characters, and no spaces or backslashes"
        )
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii").lower().rstrip(".")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchRefusedError(f"not a URL: {error}") from error
    schemes = ("https", "http") if settings.plain_http else ("https",)
    if url.scheme not in schemes:
        raise FetchRefusedError(
            f"{url.scheme or 'no scheme'!r} is not fetched; accepted: {', '.join(schemes)}"
        )
    if url.userinfo:
        raise FetchRefusedError("a URL with a user name or a password in it is not fetched")
    port = url.port or _PORTS[url.scheme]
    if not host or not _is_allowed(host, port, url.scheme, settings.allowed_hosts):
        raise FetchRefusedError(f"{url.host or 'no host'}:{port} is not in fetch.allowed_hosts")
    return Target(url.copy_with(fragment=None), host.strip("[]"), port)


def _is_allowed(host: str, port: int, scheme: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        name, _, named_port = pattern.partition("]:" if pattern.startswith("[") else ":")
        wanted = int(named_port) if named_port.isdigit() else _PORTS[scheme]
        if port == wanted and _matches(host.strip("[]"), name.strip("[]")):
            return True
    return False


def _matches(host: str, name: str) -> bool:
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return name in ("*", host)
