"""An exported cross-encoder on OpenVINO or ONNX Runtime: no torch, no transformers.

:mod:`retrieval.exported_manifest` describes the folder, ``python -m distill
export`` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from indexing.encoders.manifest import TOKENIZER
from indexing.errors import EncoderError
from indexing.settings import RerankSettings
from retrieval.exported_manifest import RerankerManifest, read_reranker_manifest
from retrieval.exported_parts import MOST_STREAMS, OnEngine, open_graph, open_tokenizer
from retrieval.packing import PairScorer
from retrieval.pairs import PairTokenizer
from retrieval.reranker import Reranker, RerankScores, checked_scores


def open_exported(folder: Path, settings: RerankSettings) -> Reranker:
    """Return the exported reranker in ``folder``, of whichever kind its manifest says.

    Raises:
        SettingsError: the folder has no manifest.
        EncoderError: the folder is damaged, or its graph does not load.
    """
    manifest = read_reranker_manifest(folder)
    if manifest.kind == "late-interaction":
        from retrieval.late_interaction import ExportedLateInteraction

        return ExportedLateInteraction(folder, manifest, settings)
    return ExportedReranker(folder, settings, manifest)


class ExportedReranker(OnEngine):
    """An exported cross-encoder behind the ``Reranker`` protocol.

    A query is tokenised once for all its texts, pairs are packed by length
    (see :mod:`retrieval.packing`), and several threads may call at a time.
    """

    kind = "cross-encoder"

    def __init__(
        self, folder: Path, settings: RerankSettings, manifest: RerankerManifest | None = None
    ) -> None:
        manifest = manifest or read_reranker_manifest(folder)
        if manifest.kind != self.kind:
            raise EncoderError(f"{folder} holds a {manifest.kind} model, not a {self.kind}")
        self.scripts = None if manifest.scripts is None else frozenset(manifest.scripts)
        max_tokens = min(settings.max_tokens, manifest.max_tokens)
        super().__init__(open_graph(folder, manifest, settings, streams=MOST_STREAMS), folder)
        self._scorer = PairScorer(
            self._runtime,
            PairTokenizer(open_tokenizer(folder / TOKENIZER), max_tokens),
            budget=settings.batch_size * max_tokens,
            longest_input=manifest.max_tokens,
        )

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the logits in the order of ``texts``.

        Raises:
            EncoderError: the engine failed, or gave a logit that is not finite.
        """
        return self.score_lists([(query, texts)])[0]

    def score_lists(self, lists: Sequence[tuple[str, Sequence[str]]]) -> list[RerankScores]:
        """Return the scores of many ``(query, texts)``; their pairs share batches.

        Raises:
            EncoderError: as :meth:`score`.
        """
        scored = self._scorer.score_lists(lists)
        return [checked_scores(self._name, one.logits, one.truncated) for one in scored]
