"""Losses on a teacher's order: RankNet, ListNet, LambdaLoss, ADR-MSE, all from sentence-transformers.

Its losses take texts and call the model themselves, which leaves no room for
packing pairs by length, nor for a student that is no CrossEncoder.  So they
are handed a model that "scores" a passage by looking up the logit that the
student already gave.  The arithmetic, masking included, stays the library's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from distill.losses.protocol import ListLoss


def ranknet(sigma: float = 1.0) -> ListLoss:
    """Return ``log2(1 + e^(-sigma (s_i - s_j)))``, mean over pairs with ``t_i > t_j``.

    Source: Burges et al., "Learning to Rank using Gradient Descent", 2005.
    """
    from sentence_transformers.cross_encoder.losses import RankNetLoss

    return _of_library(RankNetLoss(_Lookup.make(), sigma=sigma, mini_batch_size=-1))


def listnet(temperature: float = 1.0) -> ListLoss:
    """Return the cross entropy of ``softmax(s / T)`` against ``softmax(t / T)``, mean over lists.

    Source: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise
    Approach", 2007 (top-one probabilities).
    """
    from sentence_transformers.cross_encoder.losses import ListNetLoss

    library = _of_library(ListNetLoss(_Lookup.make(), mini_batch_size=-1))
    return lambda logits, labels, mask: library(logits / temperature, labels / temperature, mask)


def lambda_loss(sigma: float = 1.0, top_k: int | None = None, max_grade: float = 3.0) -> ListLoss:
    """Return LambdaLoss with the NDCG-Loss2++ weights, mean over pairs.

    Its gains are ``2^label - 1`` and negative labels count as 0, so each
    list's labels are stretched to ``0 .. max_grade`` first.

    Source: Wang et al., "The LambdaLoss Framework for Ranking Metric
    Optimization", 2018.
    """
    from sentence_transformers.cross_encoder.losses import LambdaLoss

    library = _of_library(LambdaLoss(_Lookup.make(), sigma=sigma, k=top_k, mini_batch_size=-1))
    return lambda logits, labels, mask: library(logits, _stretched(labels, mask) * max_grade, mask)


def adr_mse(alpha: float = 1.0) -> ListLoss:
    """Return the discounted squared error of approximated ranks, mean over passages.

    Source: Schlatt et al., "Rank-DistiLLM", 2025 (arXiv 2405.07920).
    """
    from sentence_transformers.cross_encoder.losses import ADRMSELoss

    return _of_library(ADRMSELoss(_Lookup.make(), alpha=alpha, mini_batch_size=-1))


def _stretched(labels: Tensor, mask: Tensor) -> Tensor:
    """Return each list's labels from 0 (its least) to 1 (its best); all 0 where none differs."""
    import torch

    scores = labels.float()
    least = torch.where(mask, scores, torch.inf).amin(dim=1, keepdim=True)
    spread = torch.where(mask, scores, -torch.inf).amax(dim=1, keepdim=True) - least
    return torch.where(mask, (scores - least) / spread.clamp(min=1e-9), 0.0)


def _of_library(library: Any) -> ListLoss:
    def loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        import torch

        with torch.autocast(logits.device.type, enabled=False):
            return _call(library, logits, labels, mask)

    return loss


def _call(library: Any, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    rows = [row for row in range(mask.shape[0]) if bool(mask[row].any())]
    places = [mask[row].nonzero().view(-1).tolist() for row in rows]
    library.model.logits = logits.float()
    try:
        value: Tensor = library(
            [rows, [[(row, place) for place in of_row] for row, of_row in zip(rows, places, strict=True)]],
            [labels[row][mask[row]].float() for row in rows],
        )
    finally:
        library.model.logits = None  # lets the graph go
    return value


class _Lookup:
    """Makes the stand-in for a CrossEncoder; a class of its own because torch is imported late."""

    @staticmethod
    def make() -> Any:
        import torch
        from sentence_transformers import CrossEncoder

        class Given(CrossEncoder):
            """``preprocess`` turns (query, passage) into a place, the call into the logit at it."""

            def __init__(self) -> None:
                torch.nn.Module.__init__(self)
                self.logits: Tensor | None = None

            @property
            def num_labels(self) -> int:
                return 1

            @property
            def device(self) -> torch.device:
                return torch.device("cpu") if self.logits is None else self.logits.device

            def preprocess(self, inputs: Any, prompt: Any = None, **_: Any) -> dict[str, Any]:
                return {"places": torch.tensor([place for _, place in inputs])}

            def forward(self, input: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
                if self.logits is None:
                    raise RuntimeError("no logits were given")
                places = input["places"]
                return {"scores": self.logits[places[:, 0], places[:, 1]]}

        return Given()
