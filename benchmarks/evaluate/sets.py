"""What is evaluated: queries, a pool of candidates for each, and judgements.

Three sources become one shape.  ``bundled``, or a folder in the BEIR layout,
whose pools a first stage makes here; a file of candidates with TREC qrels,
whose pools are its own; and MTEB's reranking rows, whose pools are their
positives and negatives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.beir import load_beir, passage_texts, query_metadata
from benchmarks.evaluate.files import checksum, json_rows, text_lines
from benchmarks.evaluate.first_stage import MemoryIndex, Stage
from indexing.errors import InputError
from indexing.settings import Settings

BUNDLED = Path(__file__).resolve().parents[1] / "data" / "bundled"
BUNDLED_RELEVANT = 2


@dataclass(frozen=True, slots=True)
class PooledSet:
    """Judged queries, each with its pool of candidates in first-stage order.

    Attributes:
        pools: query_id -> doc_ids; every side ranks exactly these.  Empty when
            the first stage found nothing.
        qrels: query_id -> doc_id -> grade, also of documents outside the pool:
            a positive that the first stage missed counts against every side.
        relevant_from: least grade that is relevant in MAP and MRR.
        groups: query_id -> {"lang": "zh", ...}, for the tables by group.
    """

    name: str
    queries: Mapping[str, str]
    pools: Mapping[str, Sequence[str]]
    texts: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    checksum: str
    first_stage: str
    relevant_from: int = 1
    in_domain: bool = True
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def pool_recall(self) -> float:
        """Share (0 to 1) of the relevant documents that are in their query's pool."""
        relevant = [
            (query_id, doc_id)
            for query_id, grades in self.qrels.items()
            for doc_id, grade in grades.items()
            if grade >= self.relevant_from
        ]
        if not relevant:
            return 0.0
        pools = {query_id: set(pool) for query_id, pool in self.pools.items()}
        return sum(doc_id in pools.get(query_id, ()) for query_id, doc_id in relevant) / len(relevant)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the sets come from, as the command line names it.

    ``data`` and ``out_of_domain`` hold folders in the BEIR layout, or
    "bundled"; ``stage`` and ``top_k`` make their pools.  ``relevant_from`` None
    is 1, and 2 for the bundled set, whose grade 1 answers nothing.

    Raises:
        InputError: candidates without judgements, or the reverse.
    """

    data: Sequence[str] = ()
    out_of_domain: Sequence[str] = ()
    candidates: Path | None = None
    qrels: Path | None = None
    mteb: Path | None = None
    stage: Stage = "hybrid"
    top_k: int = 50
    relevant_from: int | None = None

    def __post_init__(self) -> None:
        if (self.candidates is None) != (self.qrels is None):
            raise InputError("--candidates and --qrels go together: the pools, and what is right in them")


def open_sets(sources: Sources, settings: Settings) -> list[PooledSet]:
    """Return the sets of the domain, then those from outside it; the bundled one where none is named.

    Raises:
        InputError: a file or folder is not of its layout.
    """
    found = [_named_set(name, sources, settings, in_domain=True) for name in sources.data]
    if sources.candidates is not None and sources.qrels is not None:
        least = sources.relevant_from or 1
        found.append(candidates_set(sources.candidates, sources.qrels, relevant_from=least))
    if sources.mteb is not None:
        found.append(mteb_set(sources.mteb))
    outside = sources.out_of_domain or ([] if found else [BUNDLED.name])
    return [*found, *(_named_set(name, sources, settings, in_domain=False) for name in outside)]


def _named_set(name: str, sources: Sources, settings: Settings, *, in_domain: bool) -> PooledSet:
    bundled = name == BUNDLED.name
    return beir_set(
        BUNDLED if bundled else Path(name),
        settings,
        sources.stage,
        sources.top_k,
        relevant_from=sources.relevant_from or (BUNDLED_RELEVANT if bundled else 1),
        in_domain=in_domain,
    )


def beir_set(
    folder: Path,
    settings: Settings,
    stage: Stage,
    top_k: int,
    *,
    relevant_from: int = 1,
    in_domain: bool = True,
) -> PooledSet:
    """Return a folder in the BEIR layout with its pools: the first stage's ``top_k``.

    Raises:
        InputError: the folder is not of that layout.
    """
    judged = load_beir(folder)
    texts = passage_texts(folder)
    index = MemoryIndex(texts, settings, stage)
    return PooledSet(
        judged.name,
        judged.queries,
        {query_id: index.search(query, top_k) for query_id, query in judged.queries.items()},
        texts,
        judged.qrels,
        judged.checksum,
        f"{stage}, top {top_k}",
        relevant_from,
        in_domain,
        query_metadata(folder),
    )


def candidates_set(candidates: Path, qrels: Path, *, relevant_from: int = 1) -> PooledSet:
    """Return the set of a file of ``{"query_id", "query", "candidates": [{"doc_id", "text", "score"}]}``.

    The first stage's order is score descending, then doc_id; without scores
    the file's own.  Queries that the qrels do not judge are left out; judged
    queries without a row have an empty pool and count 0.

    Raises:
        InputError: a row or a line is malformed, a query comes twice, or nothing is judged.
    """
    judged = trec_qrels(qrels)
    queries: dict[str, str] = {}
    pools: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for where, row in json_rows(candidates):
        query_id, found = str(row.get("query_id", "")), row.get("candidates")
        if not query_id or not isinstance(row.get("query"), str) or not isinstance(found, list):
            raise InputError(f"{where}: expected query_id, query and a list of candidates")
        if query_id in queries:
            raise InputError(f"{where}: query {query_id!r} comes twice")
        queries[query_id] = str(row["query"])
        pools[query_id] = _pool(where, found, texts)
    if not set(queries) & set(judged):
        raise InputError(f"{qrels} judges none of the queries in {candidates}")
    return PooledSet(
        candidates.name.removesuffix(".gz").removesuffix(".jsonl"),
        {query_id: queries.get(query_id, "") for query_id in judged},
        {query_id: pools.get(query_id, []) for query_id in judged},
        texts,
        judged,
        checksum([candidates, qrels]),
        "as the file ranks them",
        relevant_from,
    )


def mteb_set(path: Path) -> PooledSet:
    """Return the set of MTEB's reranking rows: ``{"query", "positive": [...], "negative": [...]}``.

    A document's id is a hash of its text and the pool is ordered by it, so
    that nothing in the order tells positives from negatives.

    Raises:
        InputError: a row is malformed or has no positive.
    """
    queries: dict[str, str] = {}
    pools: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for number, (where, row) in enumerate(json_rows(path), start=1):
        positive, negative = _texts(row.get("positive")), _texts(row.get("negative"))
        if not isinstance(row.get("query"), str) or not positive or negative is None:
            raise InputError(
                f"{where}: expected a query, a list of positive texts and a list of negative ones"
            )
        grades = {_text_id(text): 0 for text in negative} | {_text_id(text): 1 for text in positive}
        query_id = f"row-{number}"
        queries[query_id], qrels[query_id] = str(row["query"]), grades
        pools[query_id] = sorted(grades)
        texts.update((_text_id(text), text) for text in [*positive, *negative])
    if not queries:
        raise InputError(f"{path} has no rows")
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return PooledSet(
        name, queries, pools, texts, qrels, checksum([path]), "unordered (by a hash of the text)"
    )


def trec_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return query_id -> doc_id -> grade of TREC qrels: query, iteration, document, grade.

    Raises:
        InputError: a line is malformed, or no query has a grade above 0.
    """
    judged: dict[str, dict[str, int]] = {}
    for where, line in text_lines(path):
        parts = line.split()
        if len(parts) != 4 or not parts[3].lstrip("-").isdecimal():
            raise InputError(f"{where}: expected query, iteration, document and grade")
        judged.setdefault(parts[0], {})[parts[2]] = int(parts[3])
    kept = {query_id: grades for query_id, grades in judged.items() if max(grades.values()) > 0}
    if not kept:
        raise InputError(f"{path} judges no document relevant")
    return kept


def _pool(where: str, found: Sequence[object], texts: dict[str, str]) -> list[str]:
    ids: list[str] = []
    scores: dict[str, float] = {}
    for one in found:
        if not isinstance(one, dict) or not one.get("doc_id") or not isinstance(one.get("text"), str):
            raise InputError(f"{where}: every candidate needs a doc_id and a text")
        doc_id, score = str(one["doc_id"]), one.get("score")
        if doc_id in texts and texts[doc_id] != one["text"]:
            raise InputError(f"{where}: document {doc_id!r} has two texts")
        if doc_id in ids:
            raise InputError(f"{where}: document {doc_id!r} comes twice in one pool")
        if isinstance(score, int | float):
            scores[doc_id] = float(score)
        texts[doc_id] = one["text"]
        ids.append(doc_id)
    if len(scores) == len(ids):
        ids.sort(key=lambda doc_id: (-scores[doc_id], doc_id))
    return ids


def _texts(value: object) -> list[str] | None:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None
    return value


def _text_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
