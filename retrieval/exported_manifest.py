"""The manifest of an exported reranker, for this room and those above; see the module it comes from."""

from __future__ import annotations

from indexing.encoders.reranker_manifest import (
    KNOWN_FILES,
    TEXTS,
    Feedback,
    Interaction,
    Kind,
    PrecisionOf,
    RerankerManifest,
    RuntimeOf,
    Span,
    Variant,
    read_reranker_manifest,
)

__all__ = [
    "KNOWN_FILES",
    "TEXTS",
    "Feedback",
    "Interaction",
    "Kind",
    "PrecisionOf",
    "RerankerManifest",
    "RuntimeOf",
    "Span",
    "Variant",
    "read_reranker_manifest",
]
