"""The fake service's documents and its search, simple and deterministic.

The "dense" side is the overlap of character trigrams, the "sparse" side counts
shared words (single characters for Chinese), fused by reciprocal rank; the
"reranker" shifts the sparse score.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.page_documents import Block

WINDOW = 2
RRF_K = 60


@dataclass
class Document:
    """One document and its sentences as (start, end, section, page)."""

    doc_id: str
    title: str
    sources: list[str]
    media_type: str
    text: str
    sentences: list[tuple[int, int, str, int | None]]

    def row(self) -> dict[str, object]:
        return {
            "doc_id": self.doc_id,
            "version": "0" * 16,
            "title": self.title,
            "media_type": self.media_type,
            "sentences": len(self.sentences),
            "chars": len(self.text),
            "sources": self.sources,
            "metadata": {},
            "indexed_at": "2024-05-06T07:08:09Z",
        }


def document(
    doc_id: str,
    title: str,
    source: str,
    media_type: str,
    parts: list[Block],
    sources: tuple[str, ...] = (),
) -> Document:
    """Lay blocks out as text; a heading is a line of its own and no sentence."""
    text, sentences, last = "", [], None
    for block in parts:
        if block.section and block.section != last:
            text += block.section.split(" > ")[-1] + "\n\n"
            last = block.section
        for match in re.finditer(r"\S(?:[^.!?。！？；]|[.!?](?=\S))*[.!?。！？；]*[”\"]?", block.text):
            sentences.append((len(text) + match.start(), len(text) + match.end(), block.section, block.page))
        text += block.text + "\n\n"
    return Document(doc_id, title, [source, *sources], media_type, text, sentences)


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]", text.lower()))


def trigrams(text: str) -> set[str]:
    letters = re.sub(r"[^a-z ]", "", text.lower())
    return {letters[at : at + 3] for at in range(len(letters) - 2)}


class Search:
    """One question over some documents."""

    def __init__(self, documents: dict[str, Document], body: dict[str, Any], degraded: list[str]) -> None:
        self.documents = documents
        self.degraded = degraded
        self.query = body["query"]
        self.mode = body.get("mode") or "hybrid"
        self.top_n = body.get("top_n") or 8
        self.filter = body.get("filter") or {}
        self.rerank = body.get("rerank") is not False

    def kept(self) -> Iterator[tuple[Document, int]]:
        section = self.filter.get("section", {}).get("prefix", "")
        for item in self.documents.values():
            if self.filter.get("doc_id", item.doc_id) != item.doc_id:
                continue
            if self.filter.get("source", item.sources[0]) != item.sources[0]:
                continue
            for ordinal, sentence in enumerate(item.sentences):
                if sentence[2].startswith(section):
                    yield item, ordinal

    def sides(self) -> dict[str, dict[tuple[str, int], tuple[int, float]]]:
        """Rank and score per side of every sentence that shares anything."""
        query_words, query_trigrams = words(self.query), trigrams(self.query)
        scored: dict[str, dict[tuple[str, int], float]] = {"dense": {}, "sparse": {}}
        for item, ordinal in self.kept():
            start, end, *_ = item.sentences[ordinal]
            sentence = item.text[start:end]
            found = words(sentence)
            shared = sum(min(count, found[word]) * min(len(word), 8) for word, count in query_words.items())
            if shared and self.mode != "dense":
                scored["sparse"][item.doc_id, ordinal] = shared / (20 + len(sentence)) * 50
            grams = trigrams(sentence)
            if self.mode != "sparse" and query_trigrams & grams:
                share = len(query_trigrams & grams) / len(query_trigrams | grams)
                scored["dense"][item.doc_id, ordinal] = share
        ranked = {}
        for side, scores in scored.items():
            order = sorted(scores, key=lambda key: (-scores[key], key))[:50]
            ranked[side] = {key: (rank, scores[key]) for rank, key in enumerate(order, 1)}
        return ranked

    def run(self) -> dict[str, object]:
        sides = self.sides()
        fused: Counter[tuple[str, int]] = Counter()
        for found in sides.values():
            for key, (rank, _) in found.items():
                fused[key] += 1 / (RRF_K + rank)
        order = sorted(fused, key=lambda key: (-fused[key], key))
        scored = order[:20] if self.rerank else []
        logits = {key: sides["sparse"].get(key, (0, 0.0))[1] - 4.0 for key in scored}
        final = sorted(order, key=lambda key: (-logits.get(key, -99.0), order.index(key)))
        reranked = {key: rank for rank, key in enumerate(sorted(logits, key=final.index), 1)}
        results: list[dict[str, Any]] = []
        for key in final:
            if self.absorb(results, key) or len(results) >= self.top_n:
                continue
            results.append(self.result(key, sides, fused, order, logits, reranked))
        return {"results": results, "receipt": self.receipt(sides, len(logits))}

    def absorb(self, results: list[dict[str, Any]], key: tuple[str, int]) -> bool:
        start, end, *_ = self.documents[key[0]].sentences[key[1]]
        for result in results:
            if result["doc_id"] == key[0] and result["window_start"] <= start and end <= result["window_end"]:
                if words(self.query).keys() & words(self.documents[key[0]].text[start:end]).keys():
                    result["highlights"].append([start, end])
                return True
        return False

    def result(
        self, key: Any, sides: Any, fused: Any, order: Any, logits: Any, reranked: Any
    ) -> dict[str, Any]:
        item = self.documents[key[0]]
        start, end, section, page = item.sentences[key[1]]
        first, last = max(0, key[1] - WINDOW), min(len(item.sentences) - 1, key[1] + WINDOW)
        low, high = item.sentences[first][0], item.sentences[last][1]
        ranks = {side: sides[side][key][0] if key in sides[side] else None for side in sides}
        scores = {side: sides[side][key][1] if key in sides[side] else None for side in sides}
        return {
            "id": f"5d41402a-bc4b-5a76-b971-{abs(key[1]):012d}",
            "doc_id": item.doc_id,
            "source": item.sources[0],
            "sources": item.sources,
            "title": item.title,
            "section": section,
            "page": page,
            "text": item.text[start:end],
            "window": item.text[low:high],
            "window_start": low,
            "window_end": high,
            "start": start,
            "end": end,
            "score": logits.get(key, fused[key]),
            "ranks": {**ranks, "fused": order.index(key) + 1, "rerank": reranked.get(key)},
            "scores": {**scores, "fused": fused[key], "rerank": logits.get(key)},
            "highlights": [[start, end]],
            "metadata": {},
        }

    def receipt(self, sides: Any, scored: int) -> dict[str, object]:
        known = 0.0 if re.search(r"[\u4e00-\u9fff]", self.query) else 1.0
        skipped = "" if known else ": the dense side is skipped"
        off = {"rerank": "off", "reason": "the request turned it off"}
        stages: list[tuple[str, float, dict[str, object]]] = [
            ("embed", 3.42, {"coverage": known, "dense": bool(known), "terms": 6}),
            (
                "retrieve",
                2.871,
                {"top_k": 50, "dense_hits": len(sides["dense"]), "sparse_hits": len(sides["sparse"])},
            ),
            (
                "fuse",
                0.094,
                {
                    "method": "rrf",
                    "weights": {"dense": known / 2, "sparse": 1 - known / 2},
                    "why": f"the dense encoder knows {known:.2f} of the query{skipped}",
                    "k": RRF_K,
                },
            ),
            ("windows", 0.913, {"size": WINDOW, "merged": 2}),
            ("rerank", 18.27, {"rerank": "on", "candidates": scored, "truncated": 0})
            if self.rerank
            else ("rerank", 0.0, off),
            ("answer", 0.021, {"kind": "extractive", "sentences": 3}),
        ]
        return {
            "stages": [{"name": name, "ms": ms, **details} for name, ms, details in stages],
            "degraded": self.degraded,
        }


def answer(found: dict[str, Any]) -> dict[str, Any]:
    """The three best sentences, quoted and cited."""
    citations, parts = [], []
    for label, result in enumerate(found["results"][:3], 1):
        parts.append(f"{result['text']} [{label}]")
        place = {key: result[key] for key in ("doc_id", "source", "page", "start", "end")}
        citations.append({"label": f"[{label}]", "quote": result["text"], **place})
    kind = "extractive" if citations else "none"
    return {"answer": " ".join(parts), "citations": citations, "kind": kind, **found}
