"""The second kind of student: query and passage are encoded apart, and their tokens compared.

The score is ``a * cosine + b * maxsim + c * weakest``, the features of
:class:`retrieval.exported_manifest.Interaction`, with learned coefficients
that stay positive.  The base is any safetensors encoder (all-MiniLM-L6-v2
first of all); there is no head to draw, so the untrained student already ranks.

sentence-transformers' MultiVectorEncoder (6.2) has MaxSim and its own
distillation losses, but no pooled cosine beside it, no weakest query word, and
a trainer that takes lists of one fixed size; on the dev queries the three
features together rank better than MaxSim alone (docs/starter-log.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from distill.errors import TrainingError
from distill.students.bases import base_folder, kept_layers
from distill.students.packing import pack_for_training
from distill.students.protocol import Features, Kind
from distill.students.scoring import score_texts
from distill.students.settings import StudentSettings
from indexing.errors import MissingDependencyError
from indexing.records import FloatArray
from retrieval.exported_manifest import Feedback, Interaction, Span

if TYPE_CHECKING:
    import torch
    from torch import nn

INTERACTION = "interaction.json"
Feature = Literal["cosine", "maxsim", "weakest", "bias"]
FEATURES: tuple[Feature, ...] = ("cosine", "maxsim", "weakest")
# Of a ranking loss on the LLM labels with the encoder as it is: linear fits on
# five folds of queries agree to a few per cent, and the score's scale suits RankNet.
START: Mapping[Feature, float] = {"cosine": 2.65, "maxsim": 6.42, "weakest": 3.14}
QUERY_TOKENS = 32


class LateInteractionStudent:
    """An encoder whose token vectors are compared, behind the ``Student`` protocol."""

    kind: Kind = "late-interaction"
    head: tuple[str, ...] = ("log_coefficients",)

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        interaction: Interaction,
        *,
        base: str,
        name: str,
        max_tokens: int,
    ) -> None:
        self.base = base
        self.name = name
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._query_tokens = min(interaction.query_tokens, max_tokens)
        self._feedback = interaction.feedback
        coefficients = [interaction.coefficients[one] for one in FEATURES]
        self._module = _scoring_module(encoder, coefficients, interaction.feedback)

    @property
    def module(self) -> nn.Module:
        return self._module

    @property
    def interaction(self) -> Interaction:
        """The score as it stands now, with the coefficients learned so far."""
        module: Any = self._module
        learned = module.log_coefficients.detach().float().exp().tolist()
        whole = Span(start=0, stop=int(module.encoder.config.hidden_size))
        return Interaction(
            coefficients=dict(zip(FEATURES, learned, strict=True)),
            pooled=whole,
            tokens=whole,
            query_tokens=self._query_tokens,
            feedback=self._feedback,
        )

    def tokenise(
        self, queries: Sequence[str], passages: Sequence[Sequence[str]], *, token_budget: int
    ) -> Features:
        """Return the queries as one pack, passages in packs of similar length, and who belongs to whom."""
        import torch

        width = max(len(texts) for texts in passages)
        rows = [(i, j) for i, texts in enumerate(passages) for j in range(len(texts))]
        encoded = self._encode([passages[i][j] for i, j in rows], self.max_tokens)
        groups = pack_for_training([len(ids) for ids in encoded["input_ids"]], token_budget)
        packs = []
        for group in groups:
            packs.append(
                {
                    "texts": self._padded(encoded, group),
                    "owners": torch.tensor([rows[row][0] for row in group]),
                    "places": torch.tensor([rows[row][0] * width + rows[row][1] for row in group]),
                }
            )
        asked = self._encode(list(queries), self._query_tokens)
        return {
            "queries": self._padded(asked, range(len(queries))),
            "packs": packs,
            "shape": (len(queries), width),
        }

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        return score_texts(self, query, texts)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        encoder: Any = self._module.encoder
        encoder.float()
        encoder.save_pretrained(folder, safe_serialization=True)
        self._tokenizer.model_max_length = self.max_tokens
        self._tokenizer.save_pretrained(folder)
        (folder / INTERACTION).write_text(self.interaction.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _encode(self, texts: list[str], limit: int) -> Mapping[str, Any]:
        encoded: Mapping[str, Any] = self._tokenizer(
            texts, truncation=True, max_length=limit, return_special_tokens_mask=True, verbose=False
        )
        return encoded

    def _padded(self, encoded: Mapping[str, Any], rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """One tensor a field, and ``content``: the tokens compared, no special ones, no padding."""
        fields = {name: [values[row] for row in rows] for name, values in encoded.items()}
        batch = dict(self._tokenizer.pad(fields, padding=True, return_tensors="pt"))
        batch["content"] = batch["attention_mask"].bool() & ~batch.pop("special_tokens_mask").bool()
        return batch


def open_student(settings: StudentSettings) -> LateInteractionStudent:
    """Return the student of a base folder (see :func:`distill.students.open_student`)."""
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError("transformers", "train", "training a student") from error
    folder = base_folder(settings.base)
    try:
        encoder = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            # A third faster to train on a CPU than the fused attention, whose
            # backward pass took 30% of a step.
            attn_implementation="eager",
            **kept_layers(folder, settings.layers),
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise TrainingError(f"{folder} is not an encoder for late interaction: {error}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise TrainingError(f"{folder} has no fast tokenizer (tokenizer.json)")
    _without_dropout(encoder)
    longest = int(min(settings.max_tokens, tokenizer.model_max_length, _positions(encoder)))
    return LateInteractionStudent(
        encoder,
        tokenizer,
        _interaction(folder, settings, int(encoder.config.hidden_size)),
        base=settings.base,
        name=settings.name or folder.name,
        max_tokens=longest,
    )


def _interaction(folder: Path, settings: StudentSettings, channels: int) -> Interaction:
    """Return what the folder says of its score, else the start of an untrained student."""
    path = folder / INTERACTION
    whole = Span(start=0, stop=channels)
    asked = None
    if settings.feedback_weight:
        asked = Feedback(weight=settings.feedback_weight, sharpness=settings.feedback_sharpness)
    if settings.head == "fresh" or not path.is_file():
        return Interaction(
            coefficients=START, pooled=whole, tokens=whole, query_tokens=QUERY_TOKENS, feedback=asked
        )
    try:
        found = Interaction.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrainingError(f"{path} does not describe a late-interaction score: {error}") from error
    if set(found.coefficients) != set(FEATURES) or (found.pooled, found.tokens) != (whole, whole):
        raise TrainingError(
            f"{path} describes a score this student does not train: it needs {', '.join(FEATURES)} over "
            f"all {channels} channels"
        )
    if min(found.coefficients.values()) <= 0:
        raise TrainingError(f"{path} has a coefficient that is not positive")
    return found if settings.feedback_weight is None else found.model_copy(update={"feedback": asked})


def _without_dropout(encoder: Any) -> None:
    """Switch dropout off: with a few thousand lists it slowed learning and gained nothing."""
    import torch

    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "dropout_prob", None), float):
            part.dropout_prob = 0.0


def _positions(encoder: Any) -> int:
    """Return how many tokens the position table holds: XLM-R's begins behind the padding id."""
    config = encoder.config
    count = int(getattr(config, "max_position_embeddings", 0) or 1_000_000)
    offset = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta") else 0
    return count - offset


def _scoring_module(encoder: Any, coefficients: Sequence[float], feedback: Feedback | None) -> nn.Module:
    import torch
    from torch.nn.functional import normalize

    class Scores(torch.nn.Module):
        """Packs of passages in, scores ``(batch, n_docs)`` out."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            logs = [math.log(one) for one in coefficients]
            self.log_coefficients = torch.nn.Parameter(torch.tensor(logs))

        def forward(
            self,
            queries: dict[str, torch.Tensor],
            packs: list[dict[str, Any]],
            shape: tuple[int, int],
        ) -> torch.Tensor:
            asked, pooled = self._vectors(queries)
            flat = asked.new_zeros(shape[0] * shape[1])
            # A training list is a draw from its pool, too few for feedback.
            second_look = feedback is not None and not self.training
            vectors = asked.new_zeros((shape[0] * shape[1], pooled.shape[1])) if second_look else None
            present = torch.zeros_like(flat, dtype=torch.bool)
            for pack in packs:
                owners = pack["owners"]
                tokens, means = self._vectors(pack["texts"])
                # The comparison is cheap, and bf16 would round away small differences.
                with torch.autocast(asked.device.type, enabled=False):
                    cosine = (means * pooled[owners]).sum(-1)
                    maxsim, weakest = _compared(
                        asked[owners], queries["content"][owners], tokens, pack["texts"]["content"]
                    )
                    features = torch.stack([cosine, maxsim, weakest], dim=-1)
                    scores = features @ self.log_coefficients.float().exp()
                flat = flat.index_put((pack["places"],), scores)
                if vectors is not None:
                    vectors[pack["places"]] = means
                    present[pack["places"]] = True
            if vectors is None or feedback is None:
                return flat.view(shape)
            return _fed_back(flat.view(shape), vectors.view(*shape, -1), present.view(shape), feedback)

        def _vectors(self, texts: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            """Unit token vectors ``(n, tokens, d)`` and unit means ``(n, d)``, in fp32."""
            inputs = {name: value for name, value in texts.items() if name != "content"}
            hidden = self.encoder(**inputs, return_dict=True).last_hidden_state.float()
            counted = texts["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            return normalize(hidden, dim=-1), normalize((hidden * counted).sum(1), dim=-1)

    return Scores()


def _compared(
    asked: torch.Tensor, asked_content: torch.Tensor, tokens: torch.Tensor, content: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and least, over the query's tokens, of the best match in the passage; ``(n,)`` each.

    A query or passage without content tokens has 0 for both.
    """
    import torch

    similar = torch.einsum("nqd,ntd->nqt", asked, tokens)
    best = similar.masked_fill(~content[:, None, :], -torch.inf).amax(-1)
    empty = ~(content.any(-1) & asked_content.any(-1))
    best = best.masked_fill(empty[:, None], 0.0)
    counts = asked_content.sum(-1).clamp(min=1)
    mean = best.masked_fill(~asked_content, 0.0).sum(-1) / counts
    least = best.masked_fill(~asked_content & ~empty[:, None], torch.inf).amin(-1)
    return mean, least


def _fed_back(
    scores: torch.Tensor, pooled: torch.Tensor, present: torch.Tensor, feedback: Feedback
) -> torch.Tensor:
    """Return the scores ``(batch, n_docs)`` after a second look, as retrieval.interaction has it."""
    import torch

    best = scores.masked_fill(~present, -torch.inf).amax(-1, keepdim=True)
    weights = torch.exp(feedback.sharpness * (scores - best)).masked_fill(~present, 0.0)
    whole = torch.einsum("bn,bnd->bd", weights, pooled)
    similar = torch.einsum("bnd,bd->bn", pooled, whole) - weights * pooled.square().sum(-1)
    others = weights.sum(-1, keepdim=True) - weights
    enough = present & (present.sum(-1, keepdim=True) > 1)
    gained = feedback.weight * similar / others.clamp(min=1e-12)
    return scores + gained.masked_fill(~enough, 0.0)
