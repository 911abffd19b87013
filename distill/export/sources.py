"""What can be exported: a model folder opened as one traceable module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from distill.errors import TrainingError
from distill.model_folder import ModelManifest, is_model_folder, read_model_folder
from indexing.errors import EncoderError
from retrieval.export import open_cross_encoder, open_for_tracing, traceable
from retrieval.exported_manifest import Interaction, Kind
from retrieval.rerank import refuse_unsafe

if TYPE_CHECKING:
    from torch import nn

INTERACTION = "interaction.json"


@dataclass(frozen=True, slots=True)
class Source:
    """A model ready to be traced.

    ``module(input_ids, attention_mask)`` gives logits ``(batch,)``, or for late
    interaction token embeddings ``(batch, tokens, channels)``.
    """

    kind: Kind
    folder: Path
    module: nn.Module
    tokenizer: Any
    longest: int
    interaction: Interaction | None
    manifest: ModelManifest | None


def open_source(folder: Path) -> Source:
    """Return the model in ``folder``: a student, a late-interaction encoder, or any cross-encoder.

    Raises:
        RegistryError: a student's folder that is damaged.
        EncoderError: the folder is not safe to load, or no reranker.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    manifest = read_model_folder(folder) if is_model_folder(folder) else None
    refuse_unsafe(folder)
    late = (folder / INTERACTION).is_file() or (manifest is not None and manifest.kind == "late-interaction")
    if late:
        return _late(folder, manifest)
    model, tokenizer = open_cross_encoder(folder)
    module = traceable(model, tokenizer.sep_token_id)
    longest = int(tokenizer.model_max_length if manifest is None else manifest.max_tokens)
    return Source("cross-encoder", folder, module, tokenizer, longest, None, manifest)


def _late(folder: Path, manifest: ModelManifest | None) -> Source:
    path = folder / INTERACTION
    try:
        interaction = Interaction.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TrainingError(f"{path} is missing: it says how the token vectors become a score") from error
    except ValidationError as error:
        raise EncoderError(f"{path} does not describe a late-interaction score: {error}") from error
    module, tokenizer = _open_encoder(folder)
    longest = int(tokenizer.model_max_length if manifest is None else manifest.max_tokens)
    return Source("late-interaction", folder, module, tokenizer, longest, interaction, manifest)


def _open_encoder(folder: Path) -> tuple[nn.Module, Any]:
    model, tokenizer = open_for_tracing(folder, "AutoModel", "an encoder")
    import torch

    class Tokens(torch.nn.Module):
        """Ids and mask to the last hidden states."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.inner(
                input_ids=input_ids, attention_mask=attention_mask, return_dict=True
            ).last_hidden_state
            return out

    return Tokens().eval(), tokenizer
