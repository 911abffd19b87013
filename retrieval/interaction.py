"""The late-interaction score in numpy, from token embeddings to one number a passage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from indexing.records import FloatArray
from retrieval.exported_manifest import Feedback, Interaction, Span

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query, encoded once: its pooled unit vector ``(dim,)``, its content
    tokens' unit vectors ``(n_tokens, dim)``, and their weights ``(n_tokens,)``, which sum to 1.
    """

    pooled: FloatArray
    tokens: FloatArray
    weights: FloatArray


def encode_query(output: FloatArray, content: BoolArray, interaction: Interaction) -> EncodedQuery:
    """Return the query of a graph's output ``(n_tokens, channels)``; ``content``: not a special token."""
    tokens = output[content]
    if interaction.weight is None:
        weights = np.ones(len(tokens), dtype=np.float32)
    else:
        weights = np.maximum(tokens[:, interaction.weight], 0.0)
    total = float(weights.sum())
    return EncodedQuery(
        _unit(_cut(output, interaction.pooled).mean(axis=0)),
        _unit(_cut(tokens, interaction.tokens)),
        weights / total if total > 0 else weights,
    )


def passage_scores(
    query: EncodedQuery, output: FloatArray, mask: BoolArray, content: BoolArray, interaction: Interaction
) -> FloatArray:
    """Return the scores ``(batch,)`` of passages ``(batch, n_tokens, channels)``.

    ``mask`` is False at padding, ``content`` also at special tokens.  A text
    without content tokens matches with 0.
    """
    best = _best_matches(query, output, content, interaction)
    return blended(query, best, _cosines(query, output, mask, interaction), interaction)


def blended(
    query: EncodedQuery, best: FloatArray, cosines: FloatArray, interaction: Interaction
) -> FloatArray:
    """Return the scores ``(batch,)`` of what was measured of each passage.

    ``best`` ``(batch, query tokens)`` is the greatest cosine of each query token
    with one of the passage's, ``cosines`` ``(batch,)`` that of the pooled vectors.
    """
    values = {
        "cosine": cosines,
        "maxsim": best @ query.weights,
        "weakest": best.min(axis=1) if len(query.tokens) else best.sum(axis=1),
        "bias": np.ones(len(best), dtype=np.float32),
    }
    total = np.zeros(len(best), dtype=np.float32)
    for name, coefficient in interaction.coefficients.items():
        total += np.float32(coefficient) * values[name]
    return total


def pooled_vectors(output: FloatArray, mask: BoolArray, interaction: Interaction) -> FloatArray:
    """Return the pooled unit vectors ``(batch, dim)`` of passages ``(batch, n_tokens, channels)``."""
    counted = mask.astype(np.float32)[:, None, :]
    # The mean's length does not matter to a cosine, so the sum is enough.
    pooled: FloatArray = _unit((counted @ _cut(output, interaction.pooled))[:, 0])
    return pooled


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Return the vectors ``(..., dim)`` at length 1; zeros stay zeros."""
    return _unit(vectors)


def with_feedback(scores: FloatArray, pooled: FloatArray, feedback: Feedback) -> FloatArray:
    """Return ``scores`` after a second look at all candidates (:class:`Feedback`), ``(n_passages,)``.

    A passage is never its own evidence; alone it keeps its score.
    """
    if len(scores) < 2:
        return scores
    first = scores.astype(np.float64)
    weights = np.exp(feedback.sharpness * (first - first.max()))
    vectors = pooled.astype(np.float64)
    own = weights * np.einsum("nd,nd->n", vectors, vectors)
    # In n * d steps, not n * n: the pool's weighted sum, less the passage itself.
    similar = vectors @ (weights @ vectors) - own
    others = np.maximum(weights.sum() - weights, 1e-12)
    looked_again: FloatArray = (first + feedback.weight * similar / others).astype(np.float32)
    return looked_again


def _cosines(
    query: EncodedQuery, output: FloatArray, mask: BoolArray, interaction: Interaction
) -> FloatArray:
    cosines: FloatArray = pooled_vectors(output, mask, interaction) @ query.pooled
    return cosines


def _best_matches(
    query: EncodedQuery, output: FloatArray, content: BoolArray, interaction: Interaction
) -> FloatArray:
    """Return ``(batch, query tokens)``: the greatest cosine of each query token with a passage token."""
    tokens = _cut(output, interaction.tokens)
    # Divided after the product: fewer numbers than normalising every token vector.
    similar = tokens @ query.tokens.T
    norms = np.sqrt(np.einsum("btd,btd->bt", tokens, tokens))
    similar /= np.maximum(norms, 1e-12)[:, :, None]
    similar[~content] = -np.inf
    best: FloatArray = similar.max(axis=1)
    best[~content.any(axis=1)] = 0.0
    return best


def _cut(output: FloatArray, span: Span) -> FloatArray:
    return output[..., span.start : span.stop]


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norms, 1e-12)
    return unit
