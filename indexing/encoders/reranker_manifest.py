"""The manifest of an exported reranker: what it is, and the hash of every file.

::

    my-reranker/
    ├── reranker.json      this record
    ├── model.onnx         input_ids, attention_mask -> logits, or token embeddings
    ├── model.int8.onnx    when int8 passed its gate
    ├── tokenizer.json     a Hugging Face `tokenizers` file, no truncation, no padding
    └── MODEL_CARD.md      texts (also README.md, LICENSE, NOTICE) are not hashed

It stands with the encoders because the ingest reads it too: a late-interaction
reranker encodes sentences whose token vectors are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from indexing.encoders.manifest import INT8_MODEL, MODEL, TOKENIZER, refuse_pickles, sha256_of
from indexing.errors import EncoderError, SettingsError

RERANKER_MANIFEST = "reranker.json"
KNOWN_FILES = frozenset({MODEL, INT8_MODEL, TOKENIZER})
TEXTS = frozenset({RERANKER_MANIFEST, "README.md", "MODEL_CARD.md", "LICENSE", "NOTICE"})

Kind = Literal["cross-encoder", "late-interaction"]
RuntimeOf = Literal["openvino", "onnxruntime"]
PrecisionOf = Literal["fp32", "bf16", "int8"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Part):
    """One way to run the graph, measured beside fp32 in one run.

    ``kept`` is False when it lost too much NDCG@10 or was not faster; ``why``
    has the numbers.
    """

    runtime: RuntimeOf
    precision: PrecisionOf
    kept: bool
    why: str
    ndcg_at_10: float | None = None
    pairs_per_second: float | None = None


class Span(_Part):
    """Channels ``start`` to ``stop`` (half open) of the graph's output."""

    start: int = Field(ge=0)
    stop: int = Field(ge=1)


class Feedback(_Part):
    """A second look at the candidates, with the first scores as relevance feedback.

    Each passage gains ``weight`` times the mean cosine of its pooled vector
    with the other candidates', the mean weighed by ``exp(sharpness * score)``.
    Scores then hold for one list of candidates, as ranks do.

    Source of the idea: Rocchio 1971; with dense vectors Li et al., "Pseudo
    Relevance Feedback with Deep Language Models", 2021 (arXiv 2108.11044).
    """

    weight: float = Field(gt=0)
    sharpness: float = Field(ge=0, description="0: all candidates count alike")


class Interaction(_Part):
    """How a late-interaction model turns its graph's output into a score.

    The graph gives ``(batch, tokens, channels)``: what is called pooled is the
    mean over a text's tokens, special ones included; what is called tokens is
    compared token by token, special ones left out.  The score is the sum of
    the features in ``coefficients``, each times its number:

    ``cosine``: of the two pooled vectors;
    ``maxsim``: mean over the query's tokens of the greatest cosine with one of
    the passage's tokens (Khattab and Zaharia 2020, arXiv 2004.12832), weighed
    by the channel ``weight`` where there is one;
    ``weakest``: the least of those cosines instead of their mean: the query's
    token that the passage covers worst;
    ``bias``: 1.
    """

    coefficients: Mapping[Literal["cosine", "maxsim", "weakest", "bias"], float]
    pooled: Span
    tokens: Span
    weight: int | None = Field(None, ge=0, description="channel with the query tokens' weights")
    query_tokens: int = Field(32, ge=4, description="a longer query is cut here, specials included")
    feedback: Feedback | None = None


class RerankerManifest(_Part):
    """What an exported reranker is."""

    format: Literal[1] = 1
    kind: Kind = "cross-encoder"
    name: str = Field(min_length=1)
    scripts: tuple[str, ...] | None = Field(None, description="writing systems it reads; None: all")
    max_tokens: int = Field(ge=8)
    interaction: Interaction | None = None
    licence: str = "not stated"
    source: str
    source_weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    training: Mapping[str, JsonValue] = Field(default_factory=dict)
    teachers: tuple[Mapping[str, JsonValue], ...] = ()
    metrics: Mapping[str, JsonValue] = Field(default_factory=dict)
    variants: tuple[Variant, ...] = Field((), description="fastest kept one first; empty: not measured")
    files: Mapping[str, str] = Field(description="file name -> SHA-256")

    @model_validator(mode="after")
    def _interaction_fits(self) -> RerankerManifest:
        if (self.kind == "late-interaction") != (self.interaction is not None):
            raise ValueError("interaction is for kind late-interaction, and only for it")
        return self


def read_reranker_manifest(folder: Path) -> RerankerManifest:
    """Return the manifest after checking every file in the folder against it.

    Raises:
        SettingsError: there is no manifest.
        EncoderError: it is malformed; a file is unknown, pickled, missing, or
            differs from its hash.
    """
    path = folder / RERANKER_MANIFEST
    try:
        manifest = RerankerManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"{str(folder)!r} holds no {RERANKER_MANIFEST}; "
            f"make one with: python -m distill export SOURCE {folder}"
        ) from error
    except ValidationError as error:
        raise EncoderError(f"{path} is not a manifest of an exported reranker: {error}") from error
    refuse_pickles(folder)
    if not {MODEL, TOKENIZER} <= set(manifest.files) <= KNOWN_FILES:
        raise EncoderError(f"{path} must list {MODEL} and {TOKENIZER}, and may list {INT8_MODEL}")
    present = {one.name for one in folder.iterdir() if not one.name.startswith(".")}
    unknown = sorted(present - set(manifest.files) - TEXTS)
    if unknown:
        raise EncoderError(f"{folder} holds files its manifest does not list: {', '.join(unknown)}")
    for name, digest in manifest.files.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise EncoderError(f"{folder / name} is missing or differs from its hash; export the model again")
    return manifest
