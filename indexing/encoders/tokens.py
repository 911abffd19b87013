"""Token vectors of sentences, by the encoder of an exported late-interaction reranker.

The same graph scores passages at query time (:mod:`retrieval.late_interaction`);
here it runs once a sentence, when it is indexed, and what it gives is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexing.collection.validation import MAX_TOKEN_NUMBERS
from indexing.encoders.dense import pack, padded
from indexing.encoders.manifest import MODEL, TOKENIZER
from indexing.encoders.protocols import Fingerprint
from indexing.encoders.reranker_manifest import Interaction, RerankerManifest, read_reranker_manifest
from indexing.encoders.runtime import Runtime, open_runtime
from indexing.errors import EncoderError, SettingsError
from indexing.languages import coverage
from indexing.records import FloatArray, TokenVectors
from indexing.settings import EncoderSettings

# Data of a room above, read as a folder like any other: nothing of it is imported.
SHIPPED = Path(__file__).resolve().parents[2] / "retrieval" / "models" / "starter-reranker"
_LENGTH_STEP = 8


def token_model(name: str) -> tuple[Path, RerankerManifest, Interaction]:
    """Return folder, manifest and interaction of ``encoders.late_interaction``.

    Raises:
        SettingsError: no such folder, or its model is of another kind.
        EncoderError: the folder is damaged.
    """
    folder = SHIPPED if name == "auto" else Path(name).expanduser()
    if not folder.is_dir():
        raise SettingsError(
            f"encoders.late_interaction is {name!r}, which is not a model folder; accepted: '' (none), "
            "'auto' (the reranker that comes with Winnow) or a folder"
        )
    manifest = read_reranker_manifest(folder)
    if manifest.interaction is None:
        raise SettingsError(
            f"encoders.late_interaction names {folder}, a {manifest.kind}: only a late-interaction "
            "model has token vectors to store"
        )
    return folder, manifest, manifest.interaction


def needs_pooled(interaction: Interaction) -> bool:
    """Whether the model's score has a use for pooled vectors."""
    return bool(interaction.coefficients.get("cosine")) or interaction.feedback is not None


def token_fingerprint(
    manifest: RerankerManifest, interaction: Interaction, min_coverage: float
) -> Fingerprint:
    """Everything that changes a stored token vector, or decides which text has any."""
    pooled = interaction.pooled.model_dump() if needs_pooled(interaction) else None
    return Fingerprint(
        kind="tokens",
        name=manifest.name,
        parameters={
            "weights": manifest.source_weights_sha256,
            "max_tokens": manifest.max_tokens,
            "tokens": interaction.tokens.model_dump(),
            "pooled": pooled,
            "scripts": None if manifest.scripts is None else sorted(manifest.scripts),
            "min_coverage": None if manifest.scripts is None else min_coverage,
        },
    )


class TokenEncoder:
    """Texts to token vectors; the graph is loaded by the first text, so a search never pays for it.

    A text of which fewer than ``min_coverage`` of the letters are in scripts
    that the model reads gets none: the reranker would not score it either.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self._folder, self._manifest, self._interaction = token_model(settings.late_interaction)
        self._scripts = None if self._manifest.scripts is None else frozenset(self._manifest.scripts)
        self._runtime: Runtime | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        return token_fingerprint(self._manifest, self._interaction, self._settings.min_coverage)

    @property
    def dimensions(self) -> int:
        return self._interaction.tokens.stop - self._interaction.tokens.start

    @property
    def pooled_dimensions(self) -> int:
        """0: no pooled vectors are made."""
        span = self._interaction.pooled
        return span.stop - span.start if needs_pooled(self._interaction) else 0

    def encode(self, texts: Sequence[str]) -> list[TokenVectors | None]:
        """Return each text's vectors; None for one that the model cannot read, or without a token.

        Raises:
            EncoderError: the engine failed, or gave something not finite.
        """
        found: list[TokenVectors | None] = [None] * len(texts)
        least = self._settings.min_coverage
        known = [place for place, text in enumerate(texts) if coverage(text, self._scripts) >= least]
        if not known:
            return found
        runtime = self._open()
        encodings = self._tokenizer.encode_batch([texts[place] for place in known])
        for rows in pack([len(one.ids) for one in encodings], self._settings.token_budget, _LENGTH_STEP):
            output = runtime.run(*padded([encodings[row].ids for row in rows]))
            if not np.isfinite(output).all():
                raise EncoderError(f"{self._folder} gave a token vector that is not finite")
            for row, vectors in zip(rows, output, strict=True):
                special = np.array(encodings[row].special_tokens_mask, dtype=np.bool_)
                found[known[row]] = self._vectors(vectors[: len(special)], special)
        return found

    def _open(self) -> Runtime:
        if self._runtime is None:
            from tokenizers import Tokenizer

            settings = self._settings
            self._tokenizer = Tokenizer.from_file(str(self._folder / TOKENIZER))
            most = MAX_TOKEN_NUMBERS // self.dimensions
            self._tokenizer.enable_truncation(min(self._manifest.max_tokens, most))
            self._tokenizer.no_padding()
            self._runtime = open_runtime(
                self._folder / MODEL,
                runtime=settings.runtime,
                precision=settings.precision,
                threads=settings.threads,
            )
        return self._runtime

    def _vectors(self, output: FloatArray, special: np.ndarray) -> TokenVectors | None:
        """Keep what is stored of one text's output ``(n_tokens, channels)``."""
        spans = self._interaction
        tokens = output[~special, spans.tokens.start : spans.tokens.stop]
        norms = np.linalg.norm(tokens, axis=1, keepdims=True)
        tokens = (tokens / np.maximum(norms, 1e-12))[norms[:, 0] > 0]
        if not len(tokens):
            return None
        pooled: FloatArray | None = None
        if self.pooled_dimensions:
            total = output[:, spans.pooled.start : spans.pooled.stop].sum(axis=0)
            pooled = (total / self._manifest.max_tokens).astype(np.float32)
        return TokenVectors(np.ascontiguousarray(tokens, dtype=np.float32), pooled)
