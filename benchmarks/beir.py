"""Judged retrieval sets: the BEIR layout, and folders of question-passage pairs."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from indexing.errors import InputError


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """A corpus file to index, and the queries with their graded documents.

    ``qrels`` is query_id -> doc_id -> grade (above 0), for judged queries
    alone; ``checksum`` covers every file the set was read from.
    """

    name: str
    corpus: Path
    documents: int
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    checksum: str


def load_beir(folder: Path) -> JudgedSet:
    """Return the set in ``corpus.jsonl``, ``queries.jsonl`` (or ``.gz``) and ``qrels``.

    Judgements come from ``qrels/test.tsv`` or ``qrels.tsv``: query-id,
    corpus-id, score, with or without that header.

    Raises:
        InputError: a file is missing or malformed, or judges nothing known.
    """
    corpus, queries = _find(folder, "corpus.jsonl"), _find(folder, "queries.jsonl")
    judged = _find(folder, "qrels/test.tsv", "qrels.tsv")
    texts = {str(row["_id"]): str(row["text"]) for row in json_rows(queries)}
    known = {str(row["_id"]) for row in json_rows(corpus)}
    qrels: dict[str, dict[str, int]] = {}
    with _open(judged) as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if len(row) != 3 or (number > 1 and not _is_grade(row[2])):
                raise InputError(f"{judged}, line {number}: expected query-id, corpus-id and score")
            if _is_grade(row[2]) and int(row[2]) > 0 and row[0] in texts and row[1] in known:
                qrels.setdefault(row[0], {})[row[1]] = int(row[2])
    return _checked(folder, corpus, len(known), texts, qrels, (corpus, queries, judged))


def passage_texts(folder: Path) -> dict[str, str]:
    """Return doc_id -> text of the corpus in ``folder``, a title in front where there is one.

    Raises:
        InputError: the corpus is missing or malformed, or names a document twice.
    """
    path = _find(folder, "corpus.jsonl")
    texts: dict[str, str] = {}
    for row in json_rows(path):
        doc_id, title, text = str(row.get("_id", "")), str(row.get("title") or ""), str(row.get("text", ""))
        if not doc_id or doc_id in texts:
            raise InputError(f"{path}: every document needs an _id of its own; {doc_id!r} is not")
        texts[doc_id] = f"{title}. {text}" if title else text
    return texts


def query_metadata(folder: Path) -> dict[str, dict[str, str]]:
    """Return query_id -> the strings in its ``metadata``: what a report may group by."""
    found: dict[str, dict[str, str]] = {}
    for row in json_rows(_find(folder, "queries.jsonl")):
        facts = row.get("metadata")
        if isinstance(facts, dict):
            found[str(row["_id"])] = {str(k): v for k, v in facts.items() if isinstance(v, str)}
    return found


def load_pairs(folder: Path) -> JudgedSet:
    """Return the set in ``corpus.jsonl`` and ``pairs.jsonl`` (``query_id, query, doc_id``).

    Raises:
        InputError: a file is missing or malformed.
    """
    corpus, pairs = _find(folder, "corpus.jsonl"), _find(folder, "pairs.jsonl")
    known = {str(row["_id"]) for row in json_rows(corpus)}
    texts: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for row in json_rows(pairs):
        query_id, doc_id = str(row["query_id"]), str(row["doc_id"])
        if doc_id in known:
            texts[query_id] = str(row["query"])
            qrels.setdefault(query_id, {})[doc_id] = 1
    return _checked(folder, corpus, len(known), texts, qrels, (corpus, pairs))


def together(sets: Sequence[JudgedSet], corpus: Path) -> JudgedSet:
    """Return all sets as one over one corpus, which is written to ``corpus``.

    Ids get their set's name in front: ``NAME/ID``.

    Raises:
        InputError: two sets have the same name.
    """
    if len({one.name for one in sets}) < len(sets):
        raise InputError("sets in one index need names of their own: rename one of the folders")
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    with corpus.open("w", encoding="utf-8") as out:
        for one in sets:
            for row in json_rows(one.corpus):
                out.write(json.dumps({**row, "_id": f"{one.name}/{row['_id']}"}, ensure_ascii=False) + "\n")
            queries |= {f"{one.name}/{query_id}": text for query_id, text in one.queries.items()}
            for query_id, grades in one.qrels.items():
                judged = {f"{one.name}/{doc_id}": grade for doc_id, grade in grades.items()}
                qrels[f"{one.name}/{query_id}"] = judged
    name = "+".join(one.name for one in sets)
    checksum = hashlib.sha256("".join(one.checksum for one in sets).encode()).hexdigest()[:16]
    return JudgedSet(name, corpus, sum(one.documents for one in sets), queries, qrels, checksum)


def _checked(
    folder: Path,
    corpus: Path,
    documents: int,
    texts: dict[str, str],
    qrels: dict[str, dict[str, int]],
    files: tuple[Path, ...],
) -> JudgedSet:
    if not qrels:
        raise InputError(f"{folder} judges no document of its own corpus for any of its queries")
    queries = {query_id: texts[query_id] for query_id in qrels}
    return JudgedSet(folder.name, corpus, documents, queries, qrels, checksum_of(files))


def checksum_of(files: Sequence[Path]) -> str:
    """Return the beginning of the SHA-256 of the files' text, unpacked and one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with _open(path) as lines:
            for line in lines:
                digest.update(line.encode())
    return digest.hexdigest()[:16]


def _find(folder: Path, *names: str) -> Path:
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise InputError(f"{folder} has no {' or '.join(names)} (plain or .gz)")


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def json_rows(path: Path) -> Iterator[dict[str, object]]:
    """Return the objects of a file of JSON lines, plain or gzipped.

    Raises:
        InputError: a line that is no JSON object.
    """
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: expected an object")
            yield row


def _is_grade(text: str) -> bool:
    return text.lstrip("-").isdecimal()
