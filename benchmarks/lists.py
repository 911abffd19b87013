"""Judged lists as a retrieval set: all passages are one corpus, every question searches all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.beir import JudgedSet, checksum_of, json_rows
from distill.gate_sets import read_qrels
from indexing.errors import InputError

_GRADES = ("human_grade", "human_label")


def load_lists(files: Sequence[Path], corpus: Path, qrels: Path | None = None) -> JudgedSet:
    """Return the passages of all lists as one set; its corpus is written to ``corpus``.

    A line is a question with its passages::

        {"query_id", "query", "passages" or "candidates": [{"doc_id", "text", "human_label"?}]}
        {"query_id", "query", "doc_id", "text", "human_grade"?}

    Grades are those of people, in the lines or in ``qrels`` (TREC's format),
    which then counts alone; grades of teachers are not looked at.

    Raises:
        InputError: a malformed line, one id with two texts, or no judged passage.
    """
    texts: dict[str, str] = {}
    queries: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    for path in files:
        for number, row in enumerate(json_rows(path), start=1):
            passages = row.get("passages", row.get("candidates", [row]))
            try:
                query_id = str(row["query_id"])
                queries[query_id] = str(row["query"])
                for one in passages:  # type: ignore[attr-defined]
                    doc_id, text = str(one["doc_id"]), str(one["text"])
                    if texts.setdefault(doc_id, text) != text:
                        raise InputError(f"{path}, list {number}: {doc_id!r} has two texts")
                    grade = next((one[name] for name in _GRADES if one.get(name) is not None), 0)
                    if int(grade) > 0:
                        judged.setdefault(query_id, {})[doc_id] = int(grade)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError(
                    f"{path}, list {number}: expected query_id, query and passages with doc_id and text"
                ) from error
    if qrels is not None:
        graded = read_qrels(qrels)
        judged = {
            query_id: found
            for query_id in queries
            if (found := {d: g for d, g in graded.get(query_id, {}).items() if g > 0 and d in texts})
        }
    if not judged:
        raise InputError(f"{files[0]} judges no passage; name the judgements with --qrels")
    with corpus.open("w", encoding="utf-8") as out:
        for doc_id, text in texts.items():
            out.write(json.dumps({"_id": doc_id, "title": "", "text": text}, ensure_ascii=False) + "\n")
    name = "+".join(path.name.removesuffix(".gz").removesuffix(".jsonl") for path in files)
    checksum = checksum_of([*files, *([qrels] if qrels else [])])
    asked = {query_id: queries[query_id] for query_id in judged}
    return JudgedSet(name, corpus, len(texts), asked, judged, checksum)
