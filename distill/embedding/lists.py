"""A teacher's lists as training rows of one width each, and as a judged set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distill.embedding.sets import RetrievalSet
from distill.embedding.settings import EmbedSettings
from distill.errors import TrainingError
from distill.records import LabelledList
from distill.training.normalise import normalised, positives
from distill.training.plan import spread_draw
from indexing.errors import InputError


@dataclass(frozen=True, slots=True)
class ListRow:
    """A query, some passages and their z-scored teacher scores, ``(n_passages,)`` each."""

    query: str
    texts: tuple[str, ...]
    labels: tuple[float, ...]


def chosen_teachers(lists: Sequence[LabelledList], teachers: Sequence[str]) -> list[LabelledList]:
    """Return the lists of ``teachers``; all of them when none is named.

    Raises:
        InputError: a teacher that no list has.
    """
    known = {one.teacher for one in lists}
    missing = [teacher for teacher in teachers if teacher not in known]
    if missing:
        raise InputError(f"no list is of teacher {', '.join(missing)}; there are: {', '.join(sorted(known))}")
    return [one for one in lists if not teachers or one.teacher in teachers]


def list_rows(lists: Sequence[LabelledList], settings: EmbedSettings) -> Mapping[int, list[ListRow]]:
    """Return rows by their number of passages, at most ``settings.list_size``.

    A longer list gives ``settings.draws`` rows (no more than cover it), drawn
    so that each spans the scores; a list whose scores are all equal gives none.

    Raises:
        TrainingError: no list says anything.
    """
    found: dict[int, list[ListRow]] = defaultdict(list)
    for place, one in enumerate(lists):
        if len(set(one.scores)) < 2:
            continue
        labels = normalised(one.scores, "z-score")
        size = min(settings.list_size, len(labels))
        draws = min(settings.draws, -(-len(labels) // size))
        for draw in range(draws):
            rows = spread_draw(labels, size, np.random.default_rng([settings.seed, place, draw]))
            found[size].append(
                ListRow(
                    one.query.text,
                    tuple(one.passages[row].text for row in rows),
                    tuple(labels[row] for row in rows),
                )
            )
    if not found:
        raise TrainingError("there is nothing to train on: no list has two passages with different scores")
    return dict(sorted(found.items()))


def judged_by_teacher(name: str, dev: Sequence[LabelledList], corpus: Sequence[LabelledList]) -> RetrievalSet:
    """Return the dev queries with the passages that a teacher calls relevant, over every list's passages.

    Where several teachers judged a query, a passage needs one of them.
    """
    texts = {passage.doc_id: passage.text for one in corpus for passage in one.passages}
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    for one in dev:
        for passage, good in zip(one.passages, positives(one), strict=True):
            if good:
                queries[one.query.query_id] = one.query.text
                relevant.setdefault(one.query.query_id, {})[passage.doc_id] = 1
    return RetrievalSet(name, queries, texts, relevant)
