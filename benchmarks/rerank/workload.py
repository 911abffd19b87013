"""What is reranked: queries with their candidates, and grades where there are any."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.beir import load_beir
from benchmarks.evaluate.files import checksum, json_rows
from benchmarks.evaluate.sets import trec_qrels
from distill.layouts import read_candidates, read_labels
from indexing.errors import InputError

BUNDLED = Path(__file__).resolve().parents[1] / "data" / "bundled"


@dataclass(frozen=True, slots=True)
class Pool:
    """One query and its candidates; ``grades`` None: nobody judged them.

    Grades may be there for texts that are not: what the first stage missed
    counts against every ranking.
    """

    query_id: str
    query: str
    texts: Mapping[str, str]
    grades: Mapping[str, int] | None

    @property
    def pair(self) -> tuple[str, Sequence[str]]:
        return self.query, tuple(self.texts.values())


def read_pools(
    data: Path, *, candidates: int, seed: int, qrels: Path | None = None
) -> tuple[list[Pool], str]:
    """Return the pools of ``data`` and its checksum, ``candidates`` texts each at most.

    ``data`` is a folder in the BEIR layout (a query's judged documents, filled
    up with others drawn by ``seed``), a file of candidates with or without TREC
    ``qrels``, or a file of graded pairs (every teacher's, people's grades where
    there are any).

    Raises:
        InputError: it is none of these, has nothing to rank, or ``qrels`` are
            of other queries or of data that brings its own.
    """
    if qrels is not None:
        return _judged(read_pools(data, candidates=candidates, seed=seed)[0], data, qrels)
    if data.is_dir():
        pools, files = _from_beir(data, candidates, random.Random(seed))  # noqa: S311
    else:
        first = next((row for _, row in json_rows(data)), {})
        pools = (
            _from_candidates(data, candidates) if "candidates" in first else _from_graded(data, candidates)
        )
        files = [data]
    if not pools:
        raise InputError(f"{data} has no query with candidates")
    return pools, checksum(files)


def _judged(pools: Sequence[Pool], data: Path, qrels: Path) -> tuple[list[Pool], str]:
    if any(one.grades is not None for one in pools):
        raise InputError(f"{data} has grades of its own; --qrels goes with a file of candidates")
    judged = trec_qrels(qrels)
    if not any(one.query_id in judged for one in pools):
        raise InputError(f"{qrels} judges none of the queries in {data}")
    return [replace(one, grades=judged.get(one.query_id)) for one in pools], checksum([data, qrels])


def bulk_lists(pools: Sequence[Pool], pairs: int) -> list[tuple[str, Sequence[str]]]:
    """Return pools in order, again from the front if needed, until there are ``pairs`` pairs."""
    found: list[tuple[str, Sequence[str]]] = []
    while pairs > 0:
        for pool in pools:
            query, texts = pool.pair
            found.append((query, texts[:pairs]))
            pairs -= len(found[-1][1])
            if pairs <= 0:
                break
    return found


def _from_beir(folder: Path, candidates: int, generator: random.Random) -> tuple[list[Pool], list[Path]]:
    judged = load_beir(folder)
    corpus = {str(row["_id"]): str(row["text"]) for _, row in json_rows(judged.corpus)}
    pools = []
    for query_id, query in judged.queries.items():
        ids = list(judged.qrels[query_id])[:candidates]
        others = sorted(set(corpus) - set(ids))
        ids += generator.sample(others, min(len(others), candidates - len(ids)))
        generator.shuffle(ids)
        grades = {doc_id: judged.qrels[query_id].get(doc_id, 0) for doc_id in ids}
        pools.append(Pool(query_id, query, {doc_id: corpus[doc_id] for doc_id in ids}, grades))
    return pools, [judged.corpus]


def _from_candidates(path: Path, candidates: int) -> list[Pool]:
    return [
        Pool(one.query.query_id, one.query.text, {p.doc_id: p.text for p in one.passages[:candidates]}, None)
        for one in read_candidates(path)
        if one.passages
    ]


def _from_graded(path: Path, candidates: int) -> list[Pool]:
    pools: dict[str, Pool] = {}
    for one in read_labels(path, "graded"):
        if one.query.query_id in pools:
            continue  # one teacher a query is enough: the passages are the same
        passages = one.passages[:candidates]
        human = one.human or (None,) * len(passages)
        grades = {
            p.doc_id: round(score) if grade is None else grade
            for p, score, grade in zip(passages, one.scores, human, strict=False)
        }
        texts = {p.doc_id: p.text for p in passages}
        pools[one.query.query_id] = Pool(one.query.query_id, one.query.text, texts, grades)
    return list(pools.values())
