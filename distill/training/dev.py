"""Dev figures: NDCG@10 of the student's order of the held-out lists, against the teachers' scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.records import LabelledList
from distill.students.protocol import Scorer
from distill.training.normalise import by_humans, consensus, normalised
from distill.training.settings import DevSettings
from distill.training.sources import Source
from retrieval.metrics import evaluate

METRIC = "NDCG@10"
# The measures take whole grades: scores of 0 to 3 become 0 to 30.  NDCG with
# linear gains does not change when all gains are multiplied.
GRADE_STEPS = 10
_BEST = 3.0


@dataclass(frozen=True, slots=True)
class DevList:
    """One held-out pool with whole gains; ``key`` is unique within its set."""

    key: str
    query: str
    doc_ids: tuple[str, ...]
    texts: tuple[str, ...]
    gains: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DevSet:
    """The held-out pools of one source."""

    name: str
    weight: float
    lists: tuple[DevList, ...]


def dev_sets(sources: Sequence[Source], settings: DevSettings) -> list[DevSet]:
    """Return the dev side of each source that has one.

    Teachers that graded the same query are taken together, each one's range
    stretched to 0..3; rankings stay lists of their own, first place 3.
    """
    sets = []
    for source in sources:
        human = source.settings.labels == "human"
        pools = pools_of(by_humans(source.dev) if human else source.dev)
        if settings.passages:
            pools = [_cut(one, settings.passages) for one in pools]
        if settings.queries:
            pools = pools[: settings.queries]
        if pools:
            sets.append(DevSet(source.name, source.settings.dev_weight, tuple(pools)))
    return sets


def dev_metrics(
    scores: Mapping[str, Mapping[str, Sequence[float]]], sets: Sequence[DevSet]
) -> dict[str, float]:
    """Return ``{set: NDCG@10, ..., "NDCG@10": their weighted mean}`` of scores by set and key.

    Raises:
        InputError: a score that is not finite.
    """
    found: dict[str, float] = {}
    for one in sets:
        run = {
            pool.key: dict(zip(pool.doc_ids, scores[one.name][pool.key], strict=True)) for pool in one.lists
        }
        qrels = {pool.key: dict(zip(pool.doc_ids, pool.gains, strict=True)) for pool in one.lists}
        found[one.name] = evaluate(run, qrels, [METRIC]).means[METRIC]
    weights = {one.name: one.weight for one in sets}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1.0)
    total = math.fsum(weights.values())
    found[METRIC] = math.fsum(found[name] * weight for name, weight in weights.items()) / total
    return found


def score_sets(
    scorer: Scorer, sets: Sequence[DevSet], *, rank: int = 0, world: int = 1
) -> dict[str, dict[str, list[float]]]:
    """Return set -> key -> scores; process ``rank`` of ``world`` scores its share of the lists."""
    return {
        one.name: {
            pool.key: [float(score) for score in scorer.score(pool.query, pool.texts)]
            for pool in one.lists[rank::world]
        }
        for one in sets
    }


def pools_of(lists: Sequence[LabelledList]) -> list[DevList]:
    """Return labelled lists as pools with whole gains, 0 to 30; a pool without a difference is left out."""
    graded = [one for one in lists if one.scale != "rank"]
    ranked = [one for one in lists if one.scale == "rank"]
    pools = [
        _pool(one, str(place)) for place, one in enumerate([*consensus(graded, method="grade"), *ranked])
    ]
    return [one for one in pools if len(set(one.gains)) > 1]


def _pool(one: LabelledList, place: str) -> DevList:
    scores = one.scores
    if one.scale == "rank":
        scores = tuple(_BEST * score for score in normalised(one.scores, "min-max"))
    rows = _first_of_each(one)
    return DevList(
        f"{place}:{one.query.query_id}",
        one.query.text,
        tuple(one.passages[row].doc_id for row in rows),
        tuple(one.passages[row].text for row in rows),
        tuple(max(round(scores[row] * GRADE_STEPS), 0) for row in rows),
    )


def _first_of_each(one: LabelledList) -> list[int]:
    """Rows of distinct passages: a ranking may name one twice."""
    seen: dict[str, int] = {}
    for row, passage in enumerate(one.passages):
        seen.setdefault(passage.doc_id, row)
    return list(seen.values())


def _cut(pool: DevList, size: int) -> DevList:
    """Keep every n-th passage by gain, so that the pool keeps its spread."""
    count = len(pool.gains)
    if count <= size:
        return pool
    by_gain = sorted(range(count), key=lambda row: (-pool.gains[row], pool.doc_ids[row]))
    rows = sorted(by_gain[(place * count) // size] for place in range(size))
    return DevList(
        pool.key,
        pool.query,
        tuple(pool.doc_ids[row] for row in rows),
        tuple(pool.texts[row] for row in rows),
        tuple(pool.gains[row] for row in rows),
    )
