"""Small labelled lists that a tiny student can learn: a good passage says the query's word often."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = "cash tax board interest profit company assets activities million"
_WORDS = WORDS.split()


def write_labels(
    path: Path, *, queries: int = 12, passages: int = 6, teacher: str = "llm", seed: int = 3
) -> Path:
    """Write a ``labels`` file; the score of a passage is how many of its words are the query's."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(queries):
            word = _WORDS[number % len(_WORDS)]
            rows = []
            for place in range(passages):
                hits = place % 4
                words = [word] * hits + draw.choices([w for w in _WORDS if w != word], k=3 + place - hits)
                draw.shuffle(words)
                rows.append({"doc_id": f"d{number}-{place}", "text": " ".join(words), "score": float(hits)})
            row = {
                "query_id": f"q{number}",
                # Every query has a text of its own: one text under two ids counts as one query.
                "query": f"how much {word}" + "?" * (number // len(_WORDS)),
                "teacher": teacher,
                "scale": "grade",
                "passages": rows,
            }
            file.write(json.dumps(row) + "\n")
    return path
