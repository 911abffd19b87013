"""Which lists, and which of their passages, each batch holds: a function of the seed and the batch's number.

Nothing is remembered between batches, so a run that is resumed, or spread
over several processes, sees exactly what an uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.training.sources import TrainingList

# Classes of equal width that a draw takes turns over.  With grades 0 to 3
# each grade is one of them.
_CLASSES = 4


@dataclass(frozen=True, slots=True)
class Drawn:
    """Some passages of one list, and which source the list is of."""

    source: int
    query_id: str
    query: str
    texts: tuple[str, ...]
    labels: tuple[float, ...]
    positives: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """An endless shuffled sequence over one source's lists."""

    source: int
    lists: Sequence[TrainingList]
    per_batch: int
    list_size: int
    seed: int

    def batch(self, number: int) -> list[Drawn]:
        """Return the lists of batch ``number``; every list comes once before any comes again."""
        first = number * self.per_batch
        return [self._at(position) for position in range(first, first + self.per_batch)]

    def _at(self, position: int) -> Drawn:
        epoch, place = divmod(position, len(self.lists))
        order = np.random.default_rng([self.seed, self.source, epoch]).permutation(len(self.lists))
        one = self.lists[int(order[place])]
        rows = spread_draw(
            one.labels, self.list_size, np.random.default_rng([self.seed, self.source, epoch, place])
        )
        return Drawn(
            self.source,
            one.query_id,
            one.query,
            tuple(one.texts[row] for row in rows),
            tuple(one.labels[row] for row in rows),
            tuple(one.positives[row] for row in rows),
        )


def spread_draw(labels: Sequence[float], size: int, rng: np.random.Generator) -> list[int]:
    """Return ``size`` rows, or all of a shorter list, that span the labels' range.

    The range is cut into four classes of equal width; the draw takes one row
    of each in turn, best class first, until there are enough.  A uniform draw
    of 8 from a pool where one passage in twenty is relevant has no relevant
    one two times in three.
    """
    count = len(labels)
    shuffled = rng.permutation(count)
    if count <= size:
        return [int(row) for row in shuffled]
    values = np.asarray(labels, dtype=np.float64)
    spread = max(float(values.max() - values.min()), 1e-12)
    place = np.minimum(((values - values.min()) / spread * _CLASSES).astype(int), _CLASSES - 1)
    waiting = [[int(row) for row in shuffled if place[row] == one] for one in reversed(range(_CLASSES))]
    rows: list[int] = []
    while len(rows) < size:
        for rows_of_class in waiting:
            if rows_of_class and len(rows) < size:
                rows.append(rows_of_class.pop())
    return [rows[int(turn)] for turn in rng.permutation(len(rows))]
