"""What a vLLM server says about its prefix cache, over all its clients.

An answer's own count is no sum: for a batch of prompts vLLM 0.32 gives the
cached tokens of one of them, and none for ``/generative_scoring``.  The
counters under ``/metrics`` count all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from distill.errors import TeacherAnswerError, TeacherUnavailableError
from distill.teachers.settings import TeacherSettings

_COUNTER = re.compile(r"^vllm:prefix_cache_(queries|hits)_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """Tokens looked up and tokens found since the server started."""

    queried: float
    found: float

    def since(self, before: PrefixCache) -> PrefixCache:
        """What was counted after ``before``."""
        return PrefixCache(self.queried - before.queried, self.found - before.found)

    @property
    def share(self) -> float:
        """Tokens found in the cache, of those looked up; 0 where none were."""
        return self.found / self.queried if self.queried else 0.0


async def read_prefix_cache(settings: TeacherSettings) -> PrefixCache:
    """Return the counters of the server at ``settings.url``, summed over its engines.

    Raises:
        TeacherUnavailableError: the server is not reached.
        TeacherAnswerError: it has no such counters: it is no vLLM, or has none published.
    """
    url = f"{settings.url.rstrip('/').removesuffix('/v1')}/metrics"
    key = settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=settings.timeout_s, headers=headers) as client:
            reply = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TeacherUnavailableError(f"{url} is not reached: {error or type(error).__name__}") from error
    counted = {"queries": 0.0, "hits": 0.0}
    found = _COUNTER.findall(reply.text) if reply.is_success else []
    if not found:
        raise TeacherAnswerError(f"{url} has no counters of a prefix cache")
    for name, value in found:
        counted[name] += float(value)
    return PrefixCache(counted["queries"], counted["hits"])
