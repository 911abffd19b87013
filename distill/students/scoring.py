"""What every kind of student shares: moving a batch to its device, and scoring one query's texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.records import FloatArray

if TYPE_CHECKING:
    from distill.students.protocol import Features, Student

# Tokens of one forward pass, padding included, where nobody says otherwise:
# on two cores 2,048 to 8,192 run at the same speed, and smaller ones pad less.
TOKEN_BUDGET = 4096


def to_device(features: Any, device: Any) -> Any:
    """Return ``features`` with every tensor in it on ``device``; tuples, lists and dictionaries are kept."""
    if isinstance(features, Mapping):
        return {name: to_device(value, device) for name, value in features.items()}
    if isinstance(features, list | tuple):
        return type(features)(to_device(value, device) for value in features)
    return features.to(device) if hasattr(features, "to") else features


def score_texts(student: Student, query: str, texts: Sequence[str]) -> FloatArray:
    """Return fp32 logits of ``texts`` for one query, ``(n_texts,)``, without dropout or gradients."""
    import torch

    if not texts:
        return np.zeros(0, dtype=np.float32)
    module = student.module
    device = next(module.parameters()).device
    features = to_device(student.tokenise([query], [list(texts)], token_budget=TOKEN_BUDGET), device)
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            logits = module(**features)[0, : len(texts)].float().cpu().numpy()
    finally:
        module.train(was_training)
    return np.asarray(logits, dtype=np.float32)


def token_counts(features: Features) -> tuple[int, int]:
    """Return ``(tokens, tokens with padding)`` over every attention mask of a batch."""
    used = total = 0
    waiting: list[Any] = [features]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if "attention_mask" in value:
                mask = value["attention_mask"]
                used += int(mask.sum())
                total += int(mask.numel())
            waiting += [part for name, part in value.items() if name != "attention_mask"]
        elif isinstance(value, list | tuple):
            waiting += value
    return used, total
