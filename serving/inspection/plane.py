"""Vectors on a plane, by principal components."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from indexing.records import FloatArray


def project(vectors: FloatArray) -> tuple[npt.NDArray[np.float64], float]:
    """Return ``(n, 2)`` coordinates in -1..1, and the share of the variance that they show.

    The first two principal components, by a singular value decomposition of
    the centred rows; each axis' sign is fixed (its largest coordinate is
    positive), so that the same sample gives the same picture.

    Args:
        vectors: ``(n, dimensions)``; fewer than two rows lie in the middle.

    >>> at, shown = project(np.asarray([[3.0, 0.0], [1.0, 0.0], [-4.0, 0.0]], dtype=np.float32))
    >>> [round(float(x), 2) for x in at[:, 0]], round(shown, 3)
    ([-0.75, -0.25, 1.0], 1.0)
    """
    count = len(vectors)
    flat = np.zeros((count, 2))
    if count < 2:
        return flat, 0.0
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    rows, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    total = float((strengths**2).sum())
    if total == 0.0:
        return flat, 0.0
    kept = min(2, len(strengths))
    flat[:, :kept] = rows[:, :kept] * strengths[:kept]
    for axis in range(kept):
        furthest = flat[np.abs(flat[:, axis]).argmax(), axis]
        if furthest < 0:
            flat[:, axis] *= -1
    # One scale for both axes: distances on the picture are those of the projection.
    return flat / max(float(np.abs(flat).max()), 1e-12), float((strengths[:kept] ** 2).sum()) / total
