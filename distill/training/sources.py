"""Files to training lists: read, filtered, made one scale, cut into train and dev."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import TrainingError
from distill.layouts import read_labels
from distill.records import LabelledList
from distill.split import split_by_query, without_queries
from distill.training.normalise import by_humans, consensus, normalised, positives
from distill.training.settings import SourceSettings, TrainSettings
from indexing.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingList:
    """One query's passages as a loss sees them; all tuples ``(n_passages,)``."""

    query_id: str
    query: str
    texts: tuple[str, ...]
    labels: tuple[float, ...]
    positives: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One file's lists, cut into two."""

    settings: SourceSettings
    name: str
    train: tuple[LabelledList, ...]
    dev: tuple[LabelledList, ...]

    def training_lists(self) -> list[TrainingList]:
        """Return the training side; lists that say nothing (all scores equal) are left out."""
        return [
            TrainingList(
                one.query.query_id,
                one.query.text,
                tuple(passage.text for passage in one.passages),
                tuple(
                    score * self.settings.score_scale
                    for score in normalised(one.scores, self.settings.normalise)
                ),
                positives(one),
            )
            for one in self.train
            if len(set(one.scores)) > 1
        ]


def read_sources(settings: TrainSettings) -> list[Source]:
    """Return the sources of a run, each cut by query.

    A query is on the same side in every file: the cut is by a hash of its id.

    Raises:
        TrainingError: nothing to train on.
        InputError: a file that cannot be read, or a row that is not of its layout.
    """
    held_out = _held_out(settings.exclude_queries)
    sources = [_read(one, settings, held_out) for one in settings.sources]
    if not any(one.train and one.settings.lists_per_step for one in sources):
        raise TrainingError(
            "there is nothing to train on: no source has a list in the training split; name label files "
            "with --labels FILE or [[sources]] in the recipe"
        )
    return sources


def fingerprint(sources: Iterable[Source]) -> str:
    """Return a SHA-256 of every list that is trained on: texts, scores, teachers, order."""
    digest = hashlib.sha256()
    for source in sources:
        for one in source.train:
            digest.update(f"{source.name}\0{one.teacher}\0{one.query.query_id}\0{one.query.text}\0".encode())
            for passage, score in zip(one.passages, one.scores, strict=True):
                digest.update(f"{passage.doc_id}\0{passage.text}\0{score!r}\0".encode())
    return digest.hexdigest()


def _read(settings: SourceSettings, run: TrainSettings, held_out: frozenset[str]) -> Source:
    name = settings.name or settings.path.name
    if settings.layout == "pairs":
        from distill.training.warm_start import pairs_as_lists

        lists = pairs_as_lists(settings, seed=run.seed)
    else:
        lists = read_labels(settings.path, settings.layout)
    lists = without_queries(_chosen(lists, settings, name), held_out)
    share = run.dev.share if settings.dev_share is None else settings.dev_share
    train, dev = split_by_query(lists, share=share, seed=run.dev.seed)
    trained = tuple(_as_trained(train, settings))
    log.info("%s: %d lists to train on, %d for dev", name, len(trained), len(dev))
    return Source(settings, name, trained, tuple(dev))


def _chosen(lists: Sequence[LabelledList], settings: SourceSettings, name: str) -> list[LabelledList]:
    known = {one.teacher for one in lists}
    missing = [teacher for teacher in settings.teachers if teacher not in known]
    if missing:
        raise InputError(f"{name} has no teacher {', '.join(missing)}; it has: {', '.join(sorted(known))}")
    return [one for one in lists if not settings.teachers or one.teacher in settings.teachers]


def _as_trained(lists: Sequence[LabelledList], settings: SourceSettings) -> list[LabelledList]:
    if settings.labels == "human":
        return by_humans(lists)
    if settings.consensus != "none":
        return consensus(lists, method=settings.consensus)
    return list(lists)


def _held_out(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    stripped = [line.strip() for line in lines if line.strip()]
    # Ids as they stand, texts as without_queries compares them.
    return frozenset(stripped) | frozenset(line.casefold() for line in stripped)
