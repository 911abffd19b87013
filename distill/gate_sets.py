"""What the gate compares on, from files, and the two sides as scorers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.gate import Domain, GateSet
from distill.layouts import Layout, read_candidates, read_labels
from distill.records import CandidateList, LabelledList, Passage, Query
from distill.training.dev import GRADE_STEPS, pools_of
from indexing.errors import InputError
from indexing.records import FloatArray
from retrieval.reranker import Reranker

# TREC's usual cut on grades of 0 to 3, for MAP and MRR.
_RELEVANT_FROM = 2


class RerankerScorer:
    """A reranker as the service runs it, behind the ``Scorer`` protocol."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        return self._reranker.score(query, texts).logits


def labelled_set(name: str, domain: Domain, lists: Sequence[LabelledList]) -> GateSet:
    """Return a set judged by teachers: their grades together, or one teacher's ranking."""
    pools = pools_of(lists)
    return GateSet(
        name,
        domain,
        [
            CandidateList(
                Query(pool.key, pool.query),
                tuple(map(Passage, pool.doc_ids, pool.texts)),
            )
            for pool in pools
        ],
        {pool.key: dict(zip(pool.doc_ids, pool.gains, strict=True)) for pool in pools},
        relevant_from=_RELEVANT_FROM * GRADE_STEPS,
    )


def labelled_file(path: Path, layout: Layout, domain: Domain) -> GateSet:
    """Return the set of one label file.

    Raises:
        InputError: the file cannot be read, or a row is not of the layout.
    """
    return labelled_set(path.name, domain, read_labels(path, layout))


def candidates_file(
    candidates: Path, qrels: Path, domain: Domain, *, relevant_from: int = _RELEVANT_FROM
) -> GateSet:
    """Return the set of a candidates file and a TREC qrels file (query, 0, document, grade).

    Raises:
        InputError: a file that cannot be read, or a malformed line.
    """
    return GateSet(
        candidates.name, domain, read_candidates(candidates), read_qrels(qrels), relevant_from=relevant_from
    )


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return query_id -> doc_id -> grade of a TREC qrels file."""
    found: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query_id, _, doc_id, grade = line.split()
            found.setdefault(query_id, {})[doc_id] = int(grade)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: expected QUERY 0 DOCUMENT GRADE, got {line!r}"
            ) from error
    return found
