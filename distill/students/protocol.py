"""What the trainer needs of a student, of whichever kind.

A student owns its module, its tokenizer and the layout of its folder; the
trainer owns the batches, the losses and the loop.  Between them goes one
dictionary of tensors that only the student understands: ``tokenise`` makes
it, ``module(**features)`` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from indexing.records import FloatArray

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["cross-encoder", "late-interaction"]

# Tensors, and lists and dictionaries of tensors.  Every attention mask in it
# is called "attention_mask": the trainer counts padding by that name.
Features = Mapping[str, Any]


class Scorer(Protocol):
    """Scores texts against one query: a student, or a reranker behind an adapter."""

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return one fp32 logit a text, ``(n_texts,)``, in the order of ``texts``; higher is better."""
        ...


class Student(Scorer, Protocol):
    """A reranker in training."""

    kind: Kind
    name: str
    base: str
    max_tokens: int

    @property
    def module(self) -> nn.Module:
        """The module that trains.

        ``module(**features)`` gives the logits ``(batch, n_docs)``, where
        ``n_docs`` is the length of the longest list of the batch; what stands
        behind the end of a shorter list is finite and ignored.
        """
        ...

    @property
    def head(self) -> tuple[str, ...]:
        """Prefixes of the parameters outside the encoder: trained with the head's
        learning rate, and in full when the encoder is trained by LoRA."""
        ...

    def tokenise(
        self, queries: Sequence[str], passages: Sequence[Sequence[str]], *, token_budget: int
    ) -> Features:
        """Return what ``module`` takes for ``queries[i]`` with each of ``passages[i]``, on the CPU.

        Texts are sorted by length and packed into forward passes of at most
        ``token_budget`` tokens each, padding included.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write safetensors, tokenizer and config (no manifest) into ``folder``, in fp32."""
        ...
