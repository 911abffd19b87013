"""Small judged files in the layouts that the report reads."""

from __future__ import annotations

import json
from pathlib import Path

TEXTS = {
    "d1": "Swallows nest under roofs and return in spring.",
    "d2": "A swallow drinks in flight.",
    "d3": "The river was flooded when a levee broke.",
    "d4": "Roofs of slate last a century; roofs of reed forty years.",
    "d5": "燕子春天回来，在屋檐下筑巢。",
}


def write_candidates(folder: Path) -> tuple[Path, Path]:
    rows = [
        ("q1", "swallows", [("d3", 1.0), ("d2", 2.0), ("d1", 2.0)]),
        ("q2", "roofs", [("d3", 1.0), ("d4", 3.5)]),
        ("q3", "not judged", [("d1", 1.0)]),
    ]
    path, qrels = folder / "candidates.jsonl", folder / "judged.qrels"
    with path.open("w") as out:
        for query_id, query, found in rows:
            listed = [{"doc_id": one, "text": TEXTS[one], "score": score} for one, score in found]
            out.write(json.dumps({"query_id": query_id, "query": query, "candidates": listed}) + "\n")
    qrels.write_text("q1 0 d1 3\nq1 0 d2 1\nq2 0 d4 2\nq2 0 d3 0\nq9 0 d1 2\n")
    return path, qrels


def write_beir(folder: Path) -> Path:
    corpus = [{"_id": one, "text": text} for one, text in TEXTS.items()]
    corpus[0]["title"] = "Birds"
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    query = {"_id": "q1", "text": "swallows in spring", "metadata": {"lang": "en", "n": 3}}
    (folder / "queries.jsonl").write_text(json.dumps(query) + "\n")
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\n")
    return folder
