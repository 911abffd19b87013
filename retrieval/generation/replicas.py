"""Which replica serves a prompt: rendezvous hashing on its prefix.

Requests that share a prefix meet on one replica, where it is cached.  When a
replica goes, only its own prefixes move; when one comes, it takes an equal
share of everybody's.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit
rates", IEEE/ACM Transactions on Networking 6(1), 1998.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence


def by_preference(prefix: str, replicas: Sequence[str]) -> list[str]:
    """Return the replicas, the prefix's own first, then where it goes when that one is away."""

    def weight(replica: str) -> bytes:
        return hashlib.blake2b(f"{replica}\0{prefix}".encode(), digest_size=16).digest()

    return sorted(replicas, key=lambda replica: (weight(replica), replica), reverse=True)


class Replicas:
    """The replicas of one model, and which of them did not answer lately.

    Args:
        urls: base addresses, at least one.
        rest_s: how long one that failed is passed over while others answer.
        clock: monotonic seconds.
    """

    def __init__(
        self, urls: Sequence[str], *, rest_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not urls:
            raise ValueError("no replica is named")
        self.urls = tuple(urls)
        self._rest_s = rest_s
        self._clock = clock
        self._failed_at: dict[str, float] = {}

    def order(self, prefix: str) -> list[str]:
        """Return every replica in the order to try them; those at rest come last."""
        now = self._clock()
        return sorted(by_preference(prefix, self.urls), key=lambda url: self._rests(url, now))

    def _rests(self, url: str, now: float) -> bool:
        failed = self._failed_at.get(url)
        return failed is not None and now - failed < self._rest_s

    def failed(self, url: str) -> None:
        """Pass this one over for a while."""
        self._failed_at[url] = self._clock()

    def answered(self, url: str) -> None:
        """Count this one in again."""
        self._failed_at.pop(url, None)
