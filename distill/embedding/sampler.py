"""Batches of rows of like length; for in-batch negatives, no text twice in a batch.

Most of a padded batch in random order is padding.  Imported lazily: it needs
sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

# Batches whose rows are sorted by length together: large enough that their
# rows are alike, small enough that a batch's negatives are not all of one length.
_WINDOW = 16
_NOT_TEXT = frozenset({"label", "dataset_name"})


def plan_batches(
    lengths: Sequence[int], keys: Sequence[frozenset[str]], size: int, rng: np.random.Generator
) -> list[list[int]]:
    """Return ``ceil(n / size)`` batches of at most ``size`` rows, in random order.

    Rows of one batch share no key.  Rows come at most once; where keys repeat
    so often that more batches would be needed, the rows of the smallest ones
    wait for another epoch.
    """
    shuffled = rng.permutation(len(lengths))
    done: list[list[int]] = []
    waiting: list[tuple[list[int], set[str]]] = []
    window = size * _WINDOW
    for start in range(0, len(shuffled), window):
        rows = sorted((int(row) for row in shuffled[start : start + window]), key=lambda row: lengths[row])
        for row in rows:
            place = next((one for one in waiting if one[1].isdisjoint(keys[row])), None)
            if place is None:
                place = ([], set())
                waiting.append(place)
            place[0].append(row)
            place[1].update(keys[row])
            if len(place[0]) == size:
                done.append(place[0])
                waiting.remove(place)
    waiting.sort(key=lambda one: -len(one[0]))
    batches = (done + [rows for rows, _ in waiting])[: -(-len(lengths) // size)]
    return [batches[int(at)] for at in rng.permutation(len(batches))]


class LengthBatches(DefaultBatchSampler):
    """A batch sampler of sentence-transformers' trainer over :func:`plan_batches`.

    A function of the seed and the epoch alone, so a resumed run sees the same batches.
    """

    distinct = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        columns = [list(dataset[name]) for name in dataset.column_names if name not in _NOT_TEXT]
        self._lengths = [max(map(len, texts)) for texts in zip(*columns, strict=True)]
        self._keys = [
            frozenset(texts) if self.distinct else frozenset() for texts in zip(*columns, strict=True)
        ]

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        yield from plan_batches(self._lengths, self._keys, self.batch_size, rng)

    def __len__(self) -> int:
        return -(-len(self._lengths) // self.batch_size)


class DistinctLengthBatches(LengthBatches):
    """The same, and no text twice in a batch: a copy of a positive would be its own negative."""

    distinct = True
