"""Losses of an encoder, sentence-transformers' own, computed in fp32.  Imported lazily: it needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    DistillKLDivLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

from distill.embedding.negatives import Guide, Row
from distill.embedding.settings import EmbedSettings


def cosines(queries: Tensor, documents: Tensor) -> Tensor:
    """Return ``(n_queries, n_documents)`` cosines in fp32, whatever autocast is on.

    In bf16, 256 steps between .5 and 1 are all there is to tell passages apart.
    """
    with torch.autocast(queries.device.type, enabled=False):
        return _unit(queries) @ _unit(documents).T


class PairwiseCosine:
    """``scale`` times the cosine of each row pair, ``(batch,)``, in fp32.

    The scale is in the score and not in the loss's temperature, because
    DistillKLDivLoss multiplies by the temperature squared: 1/400 at 20, which
    would leave Adam's epsilon to decide.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.__name__ = f"cosine_times_{scale:g}"

    def __call__(self, queries: Tensor, documents: Tensor) -> Tensor:
        with torch.autocast(queries.device.type, enabled=False):
            return self.scale * (_unit(queries) * _unit(documents)).sum(dim=-1)


class FilteredInfoNCE(MultipleNegativesRankingLoss):
    """InfoNCE that leaves out in-batch negatives which the guide holds for relevant.

    ``labels`` are the numbers of the batch's rows.  Masking by a guide's
    cosines: Solatorio, "GISTEmbed", 2024 (arXiv 2402.16829); the margin is
    :meth:`Guide.bound`.  InfoNCE: van den Oord et al., 2018 (arXiv 1807.03748).
    """

    def __init__(
        self, model: SentenceTransformer, guide: Guide, rows: Sequence[Row], *, scale: float, symmetric: bool
    ) -> None:
        super().__init__(
            model,
            scale=scale,
            directions=("query_to_doc", "doc_to_query") if symmetric else ("query_to_doc",),
            partition_mode="per_direction" if symmetric else "joint",
        )
        self.similarity_fct = self._similarity
        self._guide = guide
        self._rows = rows
        self._masked: Tensor | None = None

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        rows = [self._rows[int(number)] for number in labels]
        self._masked = torch.from_numpy(self._guide.false_negatives(rows)).to(labels.device)
        loss: Tensor = super().forward(sentence_features, labels)
        return loss

    def _similarity(self, queries: Tensor, documents: Tensor) -> Tensor:
        found = cosines(queries, documents)
        if self._masked is None:
            return found
        # The second direction compares with the positives alone, the mask's first columns.
        return found.masked_fill(self._masked[:, : documents.size(0)], -torch.inf)


def build_loss(
    model: SentenceTransformer, settings: EmbedSettings, guide: Guide | None, rows: Sequence[Row]
) -> nn.Module:
    """Return the loss that ``settings`` name; ``guide`` and ``rows`` are for the filtered InfoNCE alone."""
    inner: nn.Module
    if settings.loss == "kl":
        # Source: Lin et al., "Distilling Dense Representations for Ranking", 2020 (arXiv 2010.11386).
        inner = DistillKLDivLoss(
            model,
            similarity_fct=PairwiseCosine(settings.scale),
            student_temperature=1.0,
            teacher_temperature=settings.teacher_temperature,
        )
    elif settings.negatives.filter_in_batch and guide is not None:
        inner = FilteredInfoNCE(model, guide, rows, scale=settings.scale, symmetric=settings.symmetric)
    else:
        inner = _plain_infonce(model, settings)
    full = model.get_embedding_dimension()
    if settings.matryoshka and full is not None:
        # Source: Kusupati et al., "Matryoshka Representation Learning", 2022 (arXiv 2205.13147).
        inner = MatryoshkaLoss(model, inner, sorted({*settings.matryoshka, full}, reverse=True))
    return inner


def in_fp32(model: SentenceTransformer) -> Any:
    """Make the model hand its vectors over in fp32; returns the hook, to be removed afterwards."""

    def cast(_: nn.Module, __: Any, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features["sentence_embedding"] = features["sentence_embedding"].float()
        return features

    return model.register_forward_hook(cast)


def _plain_infonce(model: SentenceTransformer, settings: EmbedSettings) -> nn.Module:
    if settings.schedule.micro_batch:
        # Source of the gradient cache: Gao et al., 2021 (arXiv 2101.06983).
        return CachedMultipleNegativesRankingLoss(
            model,
            scale=settings.scale,
            similarity_fct=cosines,
            mini_batch_size=settings.schedule.micro_batch,
            directions=("query_to_doc", "doc_to_query") if settings.symmetric else ("query_to_doc",),
            partition_mode="per_direction" if settings.symmetric else "joint",
        )
    return MultipleNegativesRankingLoss(
        model,
        scale=settings.scale,
        similarity_fct=cosines,
        directions=("query_to_doc", "doc_to_query") if settings.symmetric else ("query_to_doc",),
        partition_mode="per_direction" if settings.symmetric else "joint",
    )


def _unit(vectors: Tensor) -> Tensor:
    return nn.functional.normalize(vectors.float(), dim=-1)
