"""The corpus of the speed benchmark: docstrings, grouped into documents, encoded once."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.corpus import docstring_sentences
from benchmarks.speed.sides import DOCUMENT_SENTENCES, Corpus
from indexing.encoders import model_folder
from indexing.encoders.dense import OnnxDenseEncoder
from indexing.records import Extraction, FloatArray
from indexing.sentences import sentences_of

QUERY_WORDS = 9


class VectorCache:
    """Sentence -> vector on disk (float16), so that a corpus is encoded once.

    ``sentences.json`` is a list, ``dense.npy`` has a row for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        names = folder / "sentences.json"
        self._rows: dict[str, int] = {}
        self._vectors: npt.NDArray[np.float16] | None = None
        if names.exists() and (folder / "dense.npy").exists():
            lines = json.loads(names.read_text(encoding="utf-8"))
            self._vectors = np.load(folder / "dense.npy", mmap_mode="r")
            self._rows = {line: row for row, line in enumerate(lines)}

    def encode(self, sentences: list[str]) -> FloatArray:
        """Return ``(len(sentences), dimensions)``, encoding only what is new."""
        missing = list(dict.fromkeys(text for text in sentences if text not in self._rows))
        if missing:
            encoder = OnnxDenseEncoder(model_folder("all-MiniLM-L6-v2"))
            self._extend(missing, encoder.encode_documents(missing))
        if self._vectors is None:
            raise ValueError("no sentences to encode")
        rows = np.fromiter((self._rows[text] for text in sentences), dtype=np.int64)
        vectors = np.asarray(self._vectors[rows], dtype=np.float32)
        unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _extend(self, sentences: list[str], vectors: FloatArray) -> None:
        new = vectors.astype(np.float16)
        old = self._vectors
        grown = new if old is None else np.concatenate([np.asarray(old), new])
        self._vectors = grown
        for text in sentences:
            self._rows[text] = len(self._rows)
        np.save(self._folder / "dense.npy", grown)
        (self._folder / "sentences.json").write_text(json.dumps(list(self._rows)), encoding="utf-8")


def make_corpus(sentences: int, queries: int, cache: Path, seed: int = 0) -> Corpus:
    """Return ``sentences`` sentences in documents of twenty, and ``queries`` held-out ones.

    A query is the first nine words of a sentence that is not in the corpus.
    """
    source = _sentence_file(cache, sentences + queries)
    random.Random(seed).shuffle(source)  # noqa: S311  a sample, not a secret
    held_out, pool = source[:queries], source[queries : queries + sentences]
    texts = [
        "\n\n".join(pool[first : first + DOCUMENT_SENTENCES])
        for first in range(0, len(pool), DOCUMENT_SENTENCES)
    ]
    kept: list[str] = []
    documents: list[int] = []
    ordinals: list[int] = []
    for number, text in enumerate(texts):
        for sentence in sentences_of(Extraction(text=text), max_chars=2000):
            kept.append(sentence.text)
            documents.append(number)
            ordinals.append(sentence.ordinal)
    asked = [" ".join(text.split()[:QUERY_WORDS]) for text in held_out]
    vectors = VectorCache(cache)
    return Corpus(
        sentences=kept,
        documents=documents,
        ordinals=ordinals,
        texts=texts,
        vectors=vectors.encode(kept),
        queries=asked,
        query_vectors=vectors.encode(asked),
    )


def _sentence_file(cache: Path, wanted: int) -> list[str]:
    """Docstring sentences, collected once into the cache folder."""
    path = cache / "docstrings.txt"
    found = path.read_bytes().decode().split("\n") if path.exists() else []
    if len(found) < wanted:
        found = docstring_sentences(wanted)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("\n".join(found).encode())
    return sorted(found)
