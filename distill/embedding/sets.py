"""Judged sets for training and measuring an encoder, and the three layouts they are read from.

::

    pairs    DIR/pairs.jsonl[.gz]   {"query_id", "query", "doc_id", "text"}, one relevant passage a row
             DIR/corpus.jsonl[.gz]  {"_id", "text"}; without it the corpus is the pairs' own passages
             or one such pairs file by itself (what ``python -m distill queries --generate`` writes)
    BEIR     DIR/corpus.jsonl[.gz], DIR/queries.jsonl[.gz], DIR/qrels/test.tsv or DIR/qrels.tsv
    QA JSON  LlamaIndex's ``EmbeddingQAFinetuneDataset``: one object of ``queries`` {id: text},
             ``corpus`` {id: text}, ``relevant_docs`` {query id: [doc id]}, ``mode`` "text"
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexing.errors import InputError

_NonEmpty = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Queries, the passages they are searched in, and which of them are relevant.

    ``relevant`` is query_id -> doc_id -> grade above 0; every query has at
    least one, and every document in it is in ``corpus``.
    """

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]

    def only(self, query_ids: Iterable[str]) -> RetrievalSet:
        """Return the set with these queries alone and the whole corpus."""
        kept = {query_id: self.queries[query_id] for query_id in query_ids}
        relevant = {query_id: self.relevant[query_id] for query_id in kept}
        return RetrievalSet(self.name, kept, self.corpus, relevant)

    def without_texts(self, texts: frozenset[str]) -> RetrievalSet:
        """Return the set without queries whose text (stripped, casefolded) is in ``texts``."""
        return self.only(one for one, text in self.queries.items() if plain(text) not in texts)


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Pair(_Row):
    query_id: _NonEmpty
    query: _NonEmpty
    doc_id: _NonEmpty
    text: _NonEmpty


class _Document(_Row):
    id: _NonEmpty = Field(alias="_id")
    text: str
    title: str = ""


class _QueryRow(_Row):
    id: _NonEmpty = Field(alias="_id")
    text: _NonEmpty


class _QaDataset(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: Mapping[str, _NonEmpty]
    corpus: Mapping[str, str]
    relevant_docs: Mapping[str, tuple[str, ...]]
    mode: Literal["text"] = "text"


_RowType = TypeVar("_RowType", bound=_Row)


def plain(text: str) -> str:
    """Return a query's text as two sets of queries are compared by."""
    return text.strip().casefold()


def read_set(path: Path) -> RetrievalSet:
    """Return the judged set at ``path``; its content says which of the three layouts it is.

    Raises:
        InputError: no such file, a row or column that is not of the layout, or
            nothing judged.
    """
    if path.is_dir():
        if _find(path, "queries.jsonl") is not None:
            return _read_beir(path)
        pairs = _find(path, "pairs.jsonl")
        if pairs is None:
            raise InputError(
                f"{path} has neither pairs.jsonl nor queries.jsonl (plain or .gz); accepted are a folder of "
                "pairs or in the BEIR layout, a pairs file, and LlamaIndex's EmbeddingQAFinetuneDataset JSON"
            )
        return _read_pairs(path.name, pairs, _find(path, "corpus.jsonl"))
    if path.suffix == ".json":
        return read_qa_dataset(path)
    return _read_pairs(path.name.split(".")[0], path, None)


def read_qa_dataset(path: Path) -> RetrievalSet:
    """Return a LlamaIndex ``EmbeddingQAFinetuneDataset`` file.

    Raises:
        InputError: it cannot be read, is of another form, or refers to a
            query or passage that it does not hold.
    """
    try:
        found = _QaDataset.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(
            f"{path} is no EmbeddingQAFinetuneDataset (queries, corpus, relevant_docs, mode): {_first(error)}"
        ) from error
    for query_id, doc_ids in found.relevant_docs.items():
        missing = [one for one in doc_ids if one not in found.corpus]
        if query_id not in found.queries or missing:
            what = f"passage {missing[0]!r}" if missing else f"query {query_id!r}"
            raise InputError(f"{path}: relevant_docs names {what}, which the file does not hold")
    relevant = {one: dict.fromkeys(docs, 1) for one, docs in found.relevant_docs.items() if docs}
    return _checked(path, path.stem, found.queries, found.corpus, relevant)


def write_qa_dataset(given: RetrievalSet, path: Path) -> None:
    """Write the set as a LlamaIndex ``EmbeddingQAFinetuneDataset`` file; grades above 0 become "relevant"."""
    fields = {
        "queries": dict(given.queries),
        "corpus": dict(given.corpus),
        "relevant_docs": {query_id: list(docs) for query_id, docs in given.relevant.items()},
        "mode": "text",
    }
    # ASCII, because LlamaIndex opens the file in the platform's own encoding.
    path.write_text(json.dumps(fields, indent=4) + "\n", encoding="ascii")


def fingerprint(sets: Iterable[RetrievalSet]) -> str:
    """Return a SHA-256 over every query, judgement and relevant passage of the sets, in order."""
    digest = hashlib.sha256()
    for one in sets:
        for query_id, text in one.queries.items():
            digest.update(f"{query_id}\0{text}\0".encode())
            for doc_id, grade in one.relevant[query_id].items():
                digest.update(f"{doc_id}\0{grade}\0{one.corpus[doc_id]}\0".encode())
        digest.update(f"{len(one.corpus)}\n".encode())
    return digest.hexdigest()


def _read_pairs(name: str, pairs: Path, corpus: Path | None) -> RetrievalSet:
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    texts: dict[str, str] = {}
    if corpus is not None:
        texts = {one.id: _titled(one) for one in _rows(corpus, _Document)}
    for row in _rows(pairs, _Pair):
        if queries.setdefault(row.query_id, row.query) != row.query:
            raise InputError(f"{pairs}: query_id {row.query_id!r} has two texts")
        texts.setdefault(row.doc_id, row.text)
        relevant.setdefault(row.query_id, {})[row.doc_id] = 1
    return _checked(pairs, name, queries, texts, relevant)


def _read_beir(folder: Path) -> RetrievalSet:
    corpus, queries = _find(folder, "corpus.jsonl"), _find(folder, "queries.jsonl")
    judged = _find(folder, "qrels/test.tsv", "qrels.tsv")
    if corpus is None or queries is None or judged is None:
        raise InputError(f"{folder} lacks corpus.jsonl, queries.jsonl or qrels/test.tsv of the BEIR layout")
    texts = {one.id: _titled(one) for one in _rows(corpus, _Document)}
    asked = {one.id: one.text for one in _rows(queries, _QueryRow)}
    relevant: dict[str, dict[str, int]] = {}
    with _open(judged) as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if number == 1 and row[-1:] == ["score"]:
                continue
            if len(row) != 3 or not row[2].lstrip("-").isdecimal():
                raise InputError(f"{judged}, line {number}: expected query-id, corpus-id and score")
            if int(row[2]) > 0 and row[0] in asked and row[1] in texts:
                relevant.setdefault(row[0], {})[row[1]] = int(row[2])
    return _checked(folder, folder.name, asked, texts, relevant)


def _checked(
    path: Path,
    name: str,
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    relevant: Mapping[str, Mapping[str, int]],
) -> RetrievalSet:
    judged = {query_id: text for query_id, text in queries.items() if query_id in relevant}
    if not judged:
        raise InputError(f"{path} holds no query with a relevant passage")
    return RetrievalSet(name, judged, corpus, {query_id: relevant[query_id] for query_id in judged})


def _titled(one: _Document) -> str:
    """BEIR keeps a document's title beside its text; the encoders of its paper read both."""
    return f"{one.title} {one.text}".strip() if one.title else one.text


def _find(folder: Path, *names: str) -> Path | None:
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def _rows(path: Path, kind: type[_RowType]) -> Iterator[_RowType]:
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield kind.model_validate_json(line)
                    except ValidationError as error:
                        raise InputError(f"{path}, line {number}: {_first(error)}") from error
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the row'}: {first['msg']}"


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")
