"""Encoders as Ray actors, on one machine or many.

Every node needs this package, the same model folders, and processors of the
same kind where ``encoders.precision`` is "auto": set runtime and precision when
they differ, since bf16 and fp32 do not give the same last bits.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from indexing.errors import EncoderError, MissingDependencyError
from indexing.ingest.encoding import Encoding, Setup, embed, load
from indexing.records import Embedding
from indexing.settings import EncoderSettings

logger = logging.getLogger(__name__)

# Actors are placed one a core, each with one thread, unless encoders.threads says more.
_THREADS = 1
_START_TIMEOUT_S = 300.0


class Worker:
    """What an actor runs."""

    def __init__(self, setup: Setup) -> None:
        self._encoders = load(setup)

    def ready(self) -> bool:
        return True

    def embed(self, texts: Sequence[str]) -> list[Embedding]:
        return embed(self._encoders, texts)


class RayPool:
    """``count`` actors on the cluster at ``address``; "local" starts Ray in this machine only.

    Raises:
        MissingDependencyError: Ray is not installed.
        EncoderError: the cluster does not answer, or has no room for the actors.
    """

    def __init__(self, setup: Setup, count: int, address: str) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError("ray", "ray", "indexing with --ray") from error
        self._ray = ray
        self.count = max(1, count)
        threads = setup.encoders.threads or _THREADS
        encoders: EncoderSettings = setup.encoders.model_copy(update={"threads": threads})
        self._own = not ray.is_initialized()
        try:
            if self._own:
                where: dict[str, Any] = (
                    {"num_cpus": self.count * threads, "include_dashboard": False}
                    if address == "local"
                    else {"address": address}
                )
                ray.init(**where, log_to_driver=False, logging_level=logging.WARNING)
            actor = ray.remote(num_cpus=threads)(Worker)
            prepared = Setup(setup.loader, encoders, setup.average)
            self._actors = [actor.remote(prepared) for _ in range(self.count)]
            ray.get([one.ready.remote() for one in self._actors], timeout=_START_TIMEOUT_S)
        except (ray.exceptions.RayError, ConnectionError, RuntimeError, OSError) as error:
            self.close()
            raise EncoderError(f"Ray at {address!r} did not start {self.count} encoders: {error}") from error
        self._turns = cycle(self._actors)

    def submit(self, texts: Sequence[str]) -> Encoding:
        return _Remote(self._ray, next(self._turns).embed.remote(list(texts)))

    def close(self) -> None:
        for actor in getattr(self, "_actors", []):
            self._ray.kill(actor)
        self._actors = []
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()


class _Remote:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray = ray
        self._reference = reference

    def result(self) -> list[Embedding]:
        try:
            found: list[Embedding] = self._ray.get(self._reference)
        except self._ray.exceptions.RayError as error:
            raise EncoderError(f"an encoder on Ray failed: {error}; run it again to go on") from error
        return found
