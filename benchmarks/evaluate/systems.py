"""What is compared: things that put a pool of candidates into an order.

``identity`` keeps the first stage's order; ``bi-encoder`` is the cosine of the
dense encoder (``bi-encoder:FOLDER`` of another one); ``auto`` is the reranker
that the service runs; a folder is any reranker that the service could load;
and a TREC run file brings the ranking of a system that is not here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.evaluate.files import checksum, folder_hash, text_lines
from indexing.encoders import DenseEncoder, model_folder
from indexing.errors import InputError, SettingsError
from indexing.settings import EncoderSettings, Settings
from retrieval.registry import chosen_model
from retrieval.rerank import load_folder
from retrieval.reranker import Reranker, RerankScores, order
from retrieval.step_aside import permuted, score_known

IDENTITY = "identity"
BI_ENCODER = "bi-encoder"
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Ranking:
    """A pool in a new order, and what the order took.

    Attributes:
        doc_ids: best first; empty when the system has nothing for the query.
        pairs: query-passage pairs that a model read.
        truncated: of these, pairs that the model did not see whole.
        stepped_aside: the query is in a script that the model does not read.
    """

    doc_ids: Sequence[str]
    pairs: int = 0
    truncated: int = 0
    stepped_aside: bool = False


class System(Protocol):
    """One row of the report."""

    @property
    def model(self) -> str:
        """What the user named, for the table."""
        ...

    @property
    def kind(self) -> str: ...

    @property
    def revision(self) -> str:
        """First 16 hex digits of SHA-256 over the files it came from; "" without files."""
        ...

    def rank(self, query_id: str, query: str, doc_ids: Sequence[str], texts: Sequence[str]) -> Ranking:
        """Return ``doc_ids`` in this system's order; ``doc_ids`` come in the first stage's."""
        ...


class Identity:
    """The first stage's order, untouched."""

    model = IDENTITY
    kind = "first stage"
    revision = ""

    def rank(self, query_id: str, query: str, doc_ids: Sequence[str], texts: Sequence[str]) -> Ranking:
        return Ranking(list(doc_ids))


class Reranked:
    """A model behind the service's own stage: passages that it cannot read keep their places."""

    def __init__(self, model: str, reranker: Reranker, revision: str, min_coverage: float) -> None:
        self.model = model
        self.kind = reranker.kind
        self.revision = revision
        self._reranker = reranker
        self._min_coverage = min_coverage

    def rank(self, query_id: str, query: str, doc_ids: Sequence[str], texts: Sequence[str]) -> Ranking:
        scores = score_known(self._reranker, query, texts, self._min_coverage)
        known = scores.known or (True,) * len(texts)
        best_first = [place for place in order(doc_ids, scores.logits) if known[place]]
        ranked = permuted(list(doc_ids), best_first, known)
        return Ranking(ranked, sum(known), sum(scores.truncated), not scores.query_known)


class BiEncoder:
    """The dense encoder's cosine behind the reranker's protocol; nothing is kept between calls."""

    kind = BI_ENCODER

    def __init__(self, encoder: DenseEncoder) -> None:
        self.name = encoder.fingerprint.name
        self.scripts = encoder.scripts
        self._encoder = encoder

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the cosine of every text with the query, ``(n_texts,)`` from -1 to 1."""
        if not texts:
            return RerankScores(np.zeros(0, dtype=np.float32), ())
        cosines = self._encoder.encode_documents(texts) @ self._encoder.encode_queries([query])[0]
        return RerankScores(cosines.astype(np.float32), (False,) * len(texts))


class RunFile:
    """A TREC run over the same candidates: query, Q0, document, rank, score, tag.

    Documents outside the pool are left out.  Candidates that the run leaves
    out follow in first-stage order, and a query that it leaves out altogether
    has no results and counts 0.
    """

    kind = "run file"

    def __init__(self, path: Path) -> None:
        self.model = path.name
        self.revision = checksum([path])
        self._scores: dict[str, dict[str, float]] = {}
        for where, line in text_lines(path):
            parts = line.split()
            try:
                query_id, doc_id, score = parts[0], parts[2], float(parts[4])
            except (IndexError, ValueError) as error:
                raise InputError(f"{where}: expected query, Q0, document, rank, score, tag") from error
            if not math.isfinite(score):
                raise InputError(f"{where}: the score {parts[4]} has no place in an order")
            self._scores.setdefault(query_id, {})[doc_id] = score
        if not self._scores:
            raise InputError(f"{path} holds no ranking")

    def rank(self, query_id: str, query: str, doc_ids: Sequence[str], texts: Sequence[str]) -> Ranking:
        scores = self._scores.get(query_id)
        if scores is None:
            return Ranking([])
        ranked = sorted((one for one in doc_ids if one in scores), key=lambda one: (-scores[one], one))
        return Ranking([*ranked, *(one for one in doc_ids if one not in scores)])


def open_system(name: str, settings: Settings) -> System:
    """Return the system that a command line names.

    Raises:
        SettingsError: no such folder, or "auto" where no reranker is shipped or promoted.
        EncoderError: the folder is not a model that is safe to load.
        MissingDependencyError: the model needs a package of an extra.
    """
    rerank = settings.rerank
    if name == IDENTITY:
        return Identity()
    if name == BI_ENCODER or name.startswith(f"{BI_ENCODER}:"):
        chosen = name.partition(":")[2] or settings.encoders.dense
        folder = model_folder(chosen)
        encoder = BiEncoder(_dense(folder, settings.encoders))
        label = f"{BI_ENCODER} ({folder.name})"
        return Reranked(label, encoder, folder_hash(folder), settings.encoders.min_coverage)
    picked = chosen_model(rerank.model_copy(update={"model": name}), settings.home) if name else None
    if picked is None:
        raise SettingsError(
            f"{name!r} names no reranker: none is shipped or promoted; accepted: {IDENTITY}, {BI_ENCODER}, "
            f"{BI_ENCODER}:FOLDER, {AUTO} or a model folder"
        )
    return Reranked(picked.name, load_folder(picked, rerank), folder_hash(picked), rerank.min_coverage)


def _dense(folder: Path, settings: EncoderSettings) -> DenseEncoder:
    if (folder / "manifest.json").is_file():
        from indexing.encoders.dense import OnnxDenseEncoder

        return OnnxDenseEncoder(
            folder,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            token_budget=settings.token_budget,
        )
    from indexing.encoders.sentence_transformer import SentenceTransformerEncoder

    return SentenceTransformerEncoder(folder)
