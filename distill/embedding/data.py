"""What a fine-tune reads: training sets or lists, dev queries, sets outside the domain."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.embedding.lists import chosen_teachers, judged_by_teacher
from distill.embedding.sets import RetrievalSet, fingerprint, plain, read_set
from distill.embedding.settings import EmbedSettings
from distill.errors import TrainingError
from distill.layouts import Layout, read_labels
from distill.records import LabelledList
from distill.split import is_dev
from indexing.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbedData:
    """The parts of a run, already cut by query.

    Attributes:
        train: sets whose pairs are trained on (loss infonce).
        lists: a teacher's lists to train on (loss kl).
        dev: judged sets, in domain, of queries that are not trained on.
        outside: judged sets of other domains; nothing is chosen by them, the
            gate alone looks at them.
    """

    train: tuple[RetrievalSet, ...]
    lists: tuple[LabelledList, ...]
    dev: tuple[RetrievalSet, ...]
    outside: tuple[RetrievalSet, ...] = ()

    @property
    def queries(self) -> int:
        ids = {(one.name, query_id) for one in self.train for query_id in one.queries}
        return len(ids) + len({one.query.query_id for one in self.lists})

    def fingerprint(self) -> str:
        """Return a SHA-256 of what is trained on and of what the checkpoint is chosen by."""
        digest = hashlib.sha256(f"{fingerprint(self.train)}{fingerprint(self.dev)}".encode())
        for one in self.lists:
            digest.update(f"{one.teacher}\0{one.query.query_id}\0{one.query.text}\0".encode())
            for passage, score in zip(one.passages, one.scores, strict=True):
                digest.update(f"{passage.doc_id}\0{passage.text}\0{score!r}\0".encode())
        return digest.hexdigest()


def read_data(
    settings: EmbedSettings,
    *,
    data: Sequence[Path] = (),
    labels: Sequence[Path] = (),
    layout: Layout = "labels",
    dev: Sequence[Path] = (),
    held_out: Sequence[Path] = (),
    outside: Sequence[Path] = (),
) -> EmbedData:
    """Return the data of a run.

    Queries whose text occurs in ``dev``, ``held_out`` or ``outside`` are not
    trained on, nor are those of the dev split that is cut from the training
    data when ``dev`` is empty.

    Raises:
        InputError: a file that cannot be read or is of no known layout.
        TrainingError: data of the wrong kind for the loss, or nothing left to train on.
    """
    _right_kind(settings, data, labels)
    dev_sets = _named(read_set(path) for path in dev)
    outside_sets = _named(read_set(path) for path in outside)
    away = frozenset(
        plain(text)
        for one in (*dev_sets, *outside_sets, *(read_set(path) for path in held_out))
        for text in one.queries.values()
    )
    if settings.loss == "kl":
        found = _lists(settings, labels, layout, dev_sets, away)
    else:
        found = _pairs(settings, data, dev_sets, away)
    if not found.queries:
        raise TrainingError("nothing is left to train on once dev and held-out queries are taken away")
    log.info("%d queries to train on, %d for dev", found.queries, sum(len(one.queries) for one in found.dev))
    return EmbedData(found.train, found.lists, found.dev, tuple(outside_sets))


def _right_kind(settings: EmbedSettings, data: Sequence[Path], labels: Sequence[Path]) -> None:
    if settings.loss == "kl" and (data or not labels):
        raise TrainingError(
            "loss 'kl' learns a teacher's scores: name label files with --labels, and no --data"
        )
    if settings.loss == "infonce" and (labels or not data):
        raise TrainingError("loss 'infonce' learns pairs: name them with --data, and no --labels")


def _pairs(
    settings: EmbedSettings, data: Sequence[Path], dev: list[RetrievalSet], away: frozenset[str]
) -> EmbedData:
    train = []
    cut = []
    for one in _named(read_set(path) for path in data):
        share = 0.0 if dev else settings.dev_share
        mine = [query_id for query_id in one.queries if is_dev(query_id, share=share)]
        cut.append(one.only(mine))
        texts = away | {plain(one.queries[query_id]) for query_id in mine}
        kept = one.only(query_id for query_id in one.queries if query_id not in set(mine)).without_texts(
            texts
        )
        if kept.queries:
            train.append(kept)
    return EmbedData(tuple(train), (), tuple(dev or cut))


def _lists(
    settings: EmbedSettings,
    labels: Sequence[Path],
    layout: Layout,
    dev: list[RetrievalSet],
    away: frozenset[str],
) -> EmbedData:
    lists = chosen_teachers([one for path in labels for one in read_labels(path, layout)], settings.teachers)
    if not lists:
        raise InputError(f"{', '.join(map(str, labels))} holds no list")
    share = 0.0 if dev else settings.dev_share
    mine = [one for one in lists if is_dev(one.query.query_id, share=share)]
    texts = away | {plain(one.query.text) for one in mine}
    ids = {one.query.query_id for one in mine}
    train = [one for one in lists if one.query.query_id not in ids and plain(one.query.text) not in texts]
    return EmbedData((), tuple(train), tuple(dev or [judged_by_teacher("dev", mine, lists)]))


def _named(sets: Iterable[RetrievalSet]) -> list[RetrievalSet]:
    """Give sets of one name different ones: results are kept by name."""
    found: list[RetrievalSet] = []
    for one in sets:
        name, count = one.name, 2
        while name in {other.name for other in found}:
            name, count = f"{one.name}-{count}", count + 1
        found.append(RetrievalSet(name, one.queries, one.corpus, one.relevant))
    return found
