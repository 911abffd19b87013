"""The first kind of student: a transformer that reads the query and one passage together.

The base is any safetensors folder of a sequence classifier with one label
(bge-reranker-v2-m3, ms-marco MiniLM, XLM-R), or an encoder without a head
(all-MiniLM-L6-v2), which then starts with a fresh one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import TrainingError
from distill.students.bases import base_folder, kept_layers
from distill.students.packing import pack_for_training
from distill.students.protocol import Features, Kind
from distill.students.scoring import score_texts
from distill.students.settings import StudentSettings
from indexing.errors import MissingDependencyError
from indexing.records import FloatArray
from retrieval.rerank import one_label
from retrieval.reranker import QUERY_SHARE

if TYPE_CHECKING:
    import torch
    from torch import nn

# Where transformers' sequence classifiers keep what is not the encoder.
_HEADS = ("classifier", "pooler", "score", "pre_classifier", "head", "dense_head")


class CrossEncoderStudent:
    """A sequence classifier with one label, behind the ``Student`` protocol."""

    kind: Kind = "cross-encoder"

    def __init__(self, model: Any, tokenizer: Any, *, base: str, name: str, max_tokens: int) -> None:
        self.base = base
        self.name = name
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._module = _logits_module(model)
        self._head = tuple(
            f"model.{path}"
            for path, _ in model.named_modules()
            if path.rsplit(".", 1)[-1] in _HEADS and path.count(".") <= 1
        )

    @property
    def module(self) -> nn.Module:
        return self._module

    @property
    def head(self) -> tuple[str, ...]:
        return self._head

    def tokenise(
        self, queries: Sequence[str], passages: Sequence[Sequence[str]], *, token_budget: int
    ) -> Features:
        """Return packs of pairs sorted by length, and where each pair's logit belongs."""
        import torch

        width = max(len(texts) for texts in passages)
        fitted = self._fit(queries)
        rows = [(i, j) for i, texts in enumerate(passages) for j in range(len(texts))]
        encoded = self._tokenizer(
            [fitted[i] for i, _ in rows],
            [passages[i][j] for i, j in rows],
            truncation="only_second",
            max_length=self.max_tokens,
            verbose=False,
        )
        groups = pack_for_training([len(ids) for ids in encoded["input_ids"]], token_budget)
        packs = [
            dict(
                self._tokenizer.pad(
                    {name: [values[row] for row in group] for name, values in encoded.items()},
                    padding=True,
                    return_tensors="pt",
                )
            )
            for group in groups
        ]
        places = torch.tensor([rows[row][0] * width + rows[row][1] for group in groups for row in group])
        return {"packs": packs, "places": places, "shape": (len(queries), width)}

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        return score_texts(self, query, texts)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        model: Any = self._module.model
        model.float()
        model.save_pretrained(folder, safe_serialization=True)
        self._tokenizer.model_max_length = self.max_tokens
        self._tokenizer.save_pretrained(folder)
        _state_logits(folder / "config.json")

    def _fit(self, queries: Sequence[str]) -> list[str]:
        """Cut each query to the share of the token budget that serving gives it."""
        limit = int(self.max_tokens * QUERY_SHARE)
        offsets = self._tokenizer(
            list(queries), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        return [
            query if len(spans) <= limit else query[: spans[limit - 1][1]]
            for query, spans in zip(queries, offsets, strict=True)
        ]


def open_student(settings: StudentSettings) -> CrossEncoderStudent:
    """Return the student of a base folder (see :func:`distill.students.open_student`)."""
    try:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError("transformers", "train", "training a student") from error
    folder = base_folder(settings.base)
    fresh = settings.head == "fresh" or not _has_head(folder)
    options: dict[str, Any] = {**kept_layers(folder, settings.layers), **({"num_labels": 1} if fresh else {})}
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=fresh,
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise TrainingError(f"{folder} is not a base for a cross-encoder: {error}") from error
    if not fresh:
        one_label(folder, model.config.num_labels)
    elif _has_head(folder):
        _reset_head(model)
    if not getattr(tokenizer, "is_fast", False):
        raise TrainingError(f"{folder} has no fast tokenizer (tokenizer.json)")
    longest = int(min(settings.max_tokens, tokenizer.model_max_length, _positions(model)))
    return CrossEncoderStudent(
        model, tokenizer, base=settings.base, name=settings.name or folder.name, max_tokens=longest
    )


def _logits_module(model: Any) -> nn.Module:
    import torch

    class Logits(torch.nn.Module):
        """Packs of pairs in, logits ``(batch, n_docs)`` out."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, packs: list[dict[str, torch.Tensor]], places: torch.Tensor, shape: tuple[int, int]
        ) -> torch.Tensor:
            logits = torch.cat([self.model(**one, return_dict=True).logits.view(-1).float() for one in packs])
            flat = torch.zeros(shape[0] * shape[1], dtype=logits.dtype, device=logits.device)
            return flat.index_put((places,), logits).view(shape)

    return Logits()


def _has_head(folder: Path) -> bool:
    """Return whether the folder's config names a sequence classifier."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ())


def _reset_head(model: Any) -> None:
    """Draw the last linear layers again, as transformers draws a new head's."""
    for name, module in model.named_modules():
        if name.split(".", 1)[0] in ("classifier", "score") and hasattr(module, "weight"):
            module.weight.data.normal_(0.0, model.config.initializer_range)
            if module.bias is not None:
                module.bias.data.zero_()


def _positions(model: Any) -> int:
    """Return how many tokens the position table holds: XLM-R's begins behind the padding id."""
    config = model.config
    count = int(getattr(config, "max_position_embeddings", 0) or 1_000_000)
    offset = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta") else 0
    return count - offset


def _state_logits(config: Path) -> None:
    """Say in the config that scores are logits: sentence-transformers would apply a sigmoid."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    fields["sentence_transformers"] = {
        **(fields.get("sentence_transformers") or {}),
        "activation_fn": "torch.nn.modules.linear.Identity",
    }
    config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
