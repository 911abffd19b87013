"""An exported late-interaction model on OpenVINO or ONNX Runtime: no torch, no transformers.

Query and passages are encoded apart, each once, by the same small encoder;
:mod:`retrieval.interaction` compares their tokens.  A cross-encoder of the
same size reads the query again with every passage.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexing.encoders.dense import padded
from indexing.encoders.manifest import TOKENIZER
from indexing.encoders.tokens import token_fingerprint
from indexing.settings import RerankSettings
from retrieval.exported_manifest import Interaction, RerankerManifest
from retrieval.exported_parts import MOST_STREAMS, OnEngine, open_graph, open_tokenizer
from retrieval.interaction import (
    BoolArray,
    EncodedQuery,
    encode_query,
    passage_scores,
    pooled_vectors,
    with_feedback,
)
from retrieval.packing import BATCH_TOKENS, balanced
from retrieval.reranker import RerankScores, checked_scores


@dataclass(frozen=True, slots=True)
class QueryTokens:
    """A query encoded for passages whose token vectors are stored.

    ``model``, ``kind`` and ``scripts`` are the encoding model's; ``truncated``:
    the query was cut.
    """

    encoded: EncodedQuery
    interaction: Interaction
    model: str
    kind: str
    scripts: frozenset[str] | None
    truncated: bool


class ExportedLateInteraction(OnEngine):
    """An exported folder of kind ``late-interaction`` behind the ``Reranker`` protocol.

    ``max_tokens`` bounds a passage; the manifest says where a query is cut.
    """

    kind = "late-interaction"

    def __init__(self, folder: Path, manifest: RerankerManifest, settings: RerankSettings) -> None:
        if manifest.interaction is None:
            raise ValueError("a late-interaction manifest has an interaction")
        self._manifest = manifest
        self._interaction: Interaction = manifest.interaction
        self.scripts = None if manifest.scripts is None else frozenset(manifest.scripts)
        self._max_tokens = min(settings.max_tokens, manifest.max_tokens)
        # Two tokenizers: the truncation limit is state of the object.
        self._passages = open_tokenizer(folder / TOKENIZER)
        self._passages.enable_truncation(self._max_tokens)
        self._queries = open_tokenizer(folder / TOKENIZER)
        self._queries.enable_truncation(min(self._interaction.query_tokens, self._max_tokens))
        super().__init__(open_graph(folder, manifest, settings, streams=MOST_STREAMS), folder)
        self._budget = min(settings.batch_size * self._max_tokens, BATCH_TOKENS)
        self._lock = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the scores in the order of ``texts``; one call runs at a time.

        Raises:
            EncoderError: the engine failed, or gave a number that is not finite.
        """
        if not texts:
            return RerankScores(np.zeros(0, dtype=np.float32), ())
        with self._lock:
            encoded, cut = self._encode_query(query)
            passages = self._passages.encode_batch(list(texts))
            logits = np.empty(len(texts), dtype=np.float32)
            lengths = [len(one.ids) for one in passages]
            groups = balanced(lengths, budget=self._budget, streams=self._runtime.streams)
            inputs = [padded([passages[row].ids for row in rows]) for rows in groups]
            outputs = self._runtime.run_many(inputs)
            feedback = self._interaction.feedback
            pooled = np.zeros((len(texts), self._interaction.pooled.stop - self._interaction.pooled.start))
            for rows, (_, mask), output in zip(groups, inputs, outputs, strict=True):
                content = np.zeros(mask.shape, dtype=np.bool_)
                for place, row in enumerate(rows):
                    special = passages[row].special_tokens_mask
                    content[place, : len(special)] = np.logical_not(special)
                logits[rows] = passage_scores(encoded, output, mask > 0, content, self._interaction)
                if feedback is not None:
                    pooled[rows] = pooled_vectors(output, mask > 0, self._interaction)
            if feedback is not None:
                logits = with_feedback(logits, pooled.astype(np.float32), feedback)
        truncated = tuple(cut or bool(passage.overflowing) for passage in passages)
        return checked_scores(self._name, logits, truncated)

    def token_fingerprint(self, min_coverage: float) -> str:
        """Digest of the token vectors that this model makes, as a collection remembers it."""
        return token_fingerprint(self._manifest, self._interaction, min_coverage).digest

    def query_tokens(self, query: str) -> QueryTokens:
        """Return the query encoded; what it is compared with is stored (:mod:`retrieval.stored_tokens`).

        Raises:
            EncoderError: the engine failed.
        """
        with self._lock:
            encoded, cut = self._encode_query(query)
        return QueryTokens(encoded, self._interaction, self._name, self.kind, self.scripts, cut)

    def _encode_query(self, query: str) -> tuple[EncodedQuery, bool]:
        """Return the encoded query, and whether it was cut."""
        encoding = self._queries.encode(query)
        content: BoolArray = np.logical_not(encoding.special_tokens_mask)
        output = self._runtime.run(*padded([encoding.ids]))[0]
        return encode_query(output, content, self._interaction), bool(encoding.overflowing)
