"""The gate between a model's output and the engine."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from indexing.errors import VectorError
from indexing.records import FloatArray, SparseVector

MAX_INDEX = 2**32 - 1


def unit_rows(vectors: FloatArray, dimensions: int) -> FloatArray:
    """Return ``vectors`` scaled to unit length, float32 and contiguous.

    Raises:
        VectorError: another shape than ``(n, dimensions)``, a value that is
            not finite, a row of length zero.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        raise VectorError(f"the model returned shape {vectors.shape}; expected (n, {dimensions})")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise VectorError("the model returned a vector with values that are not finite, or of length zero")
    return np.ascontiguousarray(vectors / norms, dtype=np.float32)


def sparse_vector(weights: Mapping[int, float]) -> SparseVector:
    """Return the weights as a vector: indices ascending, zeros left out; may be empty.

    Raises:
        VectorError: an index that is not an integer of 32 bits, or a weight
            that is negative or not finite.
    """
    for index, weight in weights.items():
        # A string key is what FlagEmbedding returns; bool would pass as an integer.
        if type(index) is not int or not 0 <= index <= MAX_INDEX:
            raise VectorError(f"sparse index {index!r} is not an integer of 32 bits")
        if not math.isfinite(weight) or weight < 0:
            raise VectorError(f"sparse weight {weight!r} at index {index} is negative or not finite")
    items = sorted((index, float(weight)) for index, weight in weights.items() if weight > 0)
    return SparseVector(tuple(index for index, _ in items), tuple(weight for _, weight in items))
