"""What every kind of worker does: load the writer's encoders, embed a batch of texts."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from indexing.encoders.protocols import EncoderPair
from indexing.records import Embedding
from indexing.settings import EncoderSettings


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to encode as the writer would.

    ``loader`` names a function ``load(settings, average_length=...)``, by module and name.
    """

    loader: tuple[str, str]
    encoders: EncoderSettings
    average: float | None


class Encoding(Protocol):
    """A batch on its way."""

    def result(self) -> list[Embedding]: ...


class Pool(Protocol):
    """Workers that embed texts; a batch's embeddings follow from its texts alone."""

    count: int

    def submit(self, texts: Sequence[str]) -> Encoding: ...

    def close(self) -> None: ...


def embed(encoders: EncoderPair, texts: Sequence[str]) -> list[Embedding]:
    """The embeddings that the index stores for these texts."""
    from indexing.encoders.token_pair import with_tokens

    return with_tokens(encoders, texts, encoders.embed_documents(texts)) if texts else []


def load(setup: Setup) -> EncoderPair:
    """Load a worker's encoders."""
    module, name = setup.loader
    pair: EncoderPair = getattr(importlib.import_module(module), name)(
        setup.encoders, average_length=setup.average
    )
    return pair
