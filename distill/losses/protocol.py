"""A loss sees padded matrices, so one loss serves every kind of student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class ListLoss(Protocol):
    """A loss over lists of passages.

    Args (all ``(batch, n_docs)``):
        logits: the student's, any float type; the loss is computed in fp32.
        labels: the teacher's scores, higher is better.
        mask: True where a passage is; the rest is padding, whose logits get
            no gradient.

    Returns a scalar.  A list that says nothing (fewer than two passages, no
    two labels that differ, no positive) adds nothing.
    """

    def __call__(self, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor: ...
