"""Settings of an embedding fine-tune: a TOML recipe, command-line options over it.

::

    loss = "infonce"
    negatives = 4
    matryoshka = [384, 128, 64]

    [schedule]
    epochs = 1.0
    batch_size = 32
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from indexing.errors import SettingsError
from indexing.settings import Section


class ScheduleSettings(Section):
    """How long, how fast, in which batches."""

    epochs: float = Field(1.0, gt=0, le=100)
    max_steps: int = Field(0, ge=0, description="optimiser steps; 0: as many as the epochs have")
    batch_size: int = Field(
        32, ge=2, le=65_536, description="queries whose passages are each other's negatives"
    )
    micro_batch: int = Field(
        0,
        ge=0,
        description="infonce: queries per forward pass, the rest cached (GradCache); 0: the whole batch",
    )
    accumulate: int = Field(1, ge=1, le=1024, description="batches an optimiser step")
    learning_rate: float = Field(2e-5, gt=0, le=1)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.01, ge=0, le=1)
    gradient_checkpointing: bool = False
    eval_steps: int = Field(50, ge=1, description="optimiser steps between looks at dev, and checkpoints")
    patience: int = Field(4, ge=1, description="looks at dev without a better NDCG@10 before it stops")
    threads: int = Field(0, ge=0, description="of torch on a CPU; 0: its own choice")


class NegativeSettings(Section):
    """infonce: hard negatives, and what is too close to a positive to be one."""

    count: int = Field(4, ge=0, le=64, description="mined a query; 0: in-batch negatives only")
    skip_top: int = Field(0, ge=0, le=10_000, description="best-ranked candidates passed over")
    margin: float = Field(
        0.05, ge=0, lt=1, description="a negative scores at least this share of its positive's below it"
    )
    filter_in_batch: bool = Field(True, description="mask in-batch negatives that the margin would refuse")
    guide: str = Field("", description="the frozen encoder that mines and masks; empty: the base")


class EmbedGateSettings(Section):
    """What a fine-tuned encoder may lose before it is refused, in NDCG@10."""

    min_dev_gain: float = Field(0.0, ge=-1, le=1, description="dev: after minus before must be at least this")
    max_out_of_domain_drop: float = Field(0.01, ge=0, le=1, description="of each set outside the domain")
    min_spread: float = Field(
        0.25,
        ge=0,
        le=1,
        description="1 - mean cosine of dev passages, as a share of the base's; below: collapsed",
    )


class EmbedSettings(Section):
    """One fine-tune of a dense encoder."""

    base: str = Field("all-MiniLM-L6-v2", description="a sentence-transformers folder, or the shipped name")
    name: str = Field("", description="name in the manifest; empty: the output folder's")
    licence: str = Field("not stated", description="of the weights that come out; training data counts")
    scripts: tuple[str, ...] | None = Field(
        None, description="writing systems it reads; None: what the base does"
    )
    loss: Literal["infonce", "kl"] = "infonce"
    scale: float = Field(20.0, gt=0, le=1000, description="multiplies the cosine, 1 / temperature")
    symmetric: bool = Field(False, description="infonce: passage to query as well")
    teacher_temperature: float = Field(
        1.0, gt=0, le=100, description="kl: divides the z-scored teacher scores"
    )
    list_size: int = Field(8, ge=2, le=64, description="kl: passages of a list that one step sees")
    draws: int = Field(4, ge=1, le=1000, description="kl: draws from a list longer than list_size, an epoch")
    teachers: tuple[str, ...] = Field((), description="kl: only these teachers' lists; empty: all")
    matryoshka: tuple[int, ...] = Field((), description="prefix lengths trained besides the full vector")
    lora_rank: int = Field(0, ge=0, le=1024, description="0: every weight is trained")
    precision: Literal["fp32", "bf16"] = "fp32"
    max_tokens: int | None = Field(None, ge=8, le=32_768, description="None: what the base reads")
    dev_share: float = Field(0.1, ge=0, lt=1, description="of the queries, cut by a hash of the id")
    dev_documents: int = Field(1000, ge=2, description="passages searched at each look at dev, a set")
    seed: int = Field(13, ge=0, lt=2**31)
    schedule: ScheduleSettings = ScheduleSettings()
    negatives: NegativeSettings = NegativeSettings()
    gate: EmbedGateSettings = EmbedGateSettings()

    @model_validator(mode="after")
    def _fits(self) -> EmbedSettings:
        if self.loss == "kl" and (self.symmetric or self.schedule.micro_batch):
            raise ValueError("symmetric and schedule.micro_batch belong to loss = 'infonce'")
        if self.schedule.micro_batch and self.negatives.filter_in_batch:
            raise ValueError("schedule.micro_batch needs negatives.filter_in_batch = false")
        if self.loss == "kl" and self.list_size in self.matryoshka:
            # MatryoshkaLoss takes labels as wide as the vector for embeddings and cuts them.
            raise ValueError(f"list_size {self.list_size} must differ from the matryoshka dimensions")
        if any(dimensions < 2 for dimensions in self.matryoshka):
            raise ValueError("matryoshka dimensions are at least 2")
        return self


def read_recipe(path: Path | None, over: Mapping[str, Any]) -> EmbedSettings:
    """Return the settings of a TOML file (or the defaults) with ``over`` laid over them.

    ``over`` may nest; a None in it says nothing.

    Raises:
        SettingsError: no such file, not TOML, an unknown key, a value out of range.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        return EmbedSettings.model_validate(_laid_over(found, over))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as a recipe: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'recipe'}: {one['msg']}"
            for one in error.errors(include_url=False)
        )
        raise SettingsError(f"{path or 'options'}: {problems}") from error


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        if isinstance(value, Mapping):
            merged[key] = _laid_over(merged.get(key, {}), value)
        elif value is not None:
            merged[key] = value
    return merged
