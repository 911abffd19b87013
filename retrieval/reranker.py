"""What a reranker is to the stage that uses it: a protocol, its scores, and their order.

A reranker gives one fp32 logit a window.  Ranking uses the logits as they
are: a sigmoid in bf16 leaves 6 distinct scores of 800 logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from indexing.errors import EncoderError
from indexing.records import FloatArray

# The share of the token budget a query may take: FlagEmbedding's own rule,
# applied to every backend so that they read the same tokens.
QUERY_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class RerankScores:
    """One logit per text, ``(n_texts,)`` float32.

    ``truncated`` says for each text whether the model did not see all of the
    pair: the text's end was cut off, or the query's.  ``known`` says which
    texts the model can read; the logits of the others are 0 and mean nothing
    (:mod:`retrieval.step_aside`).  None: every text was scored.  ``stored``: what
    the receipt says of a score from stored token vectors; None: the model ran.
    """

    logits: FloatArray
    truncated: tuple[bool, ...]
    known: tuple[bool, ...] | None = None
    query_known: bool = True
    model: str = ""
    kind: str = ""
    stored: Mapping[str, object] | None = None


class Reranker(Protocol):
    """Scores windows against one query; a call blocks, so keep it off the event loop."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """``cross-encoder`` or ``late-interaction``."""
        ...

    @property
    def scripts(self) -> frozenset[str] | None:
        """Writing systems the model reads (:mod:`indexing.languages`); None: all."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the logits in the order of ``texts``; higher is better.

        Raises:
            EncoderError: the model failed, or returned something not finite.
        """
        ...


def order(ids: Sequence[str], logits: FloatArray) -> list[int]:
    """Return the positions of ``ids`` best first: logit descending, then id ascending."""
    return sorted(range(len(ids)), key=lambda i: (-float(logits[i]), ids[i]))


def checked_scores(name: str, logits: FloatArray, truncated: tuple[bool, ...]) -> RerankScores:
    """Return the scores when they can be ranked.

    Raises:
        EncoderError: another number of logits than texts, or one that is not finite.
    """
    if logits.shape != (len(truncated),):
        raise EncoderError(f"reranker {name} gave shape {logits.shape} for {len(truncated)} texts")
    if not np.isfinite(logits).all():
        raise EncoderError(f"reranker {name} gave a logit that is not finite; check its weights")
    return RerankScores(logits, truncated)
