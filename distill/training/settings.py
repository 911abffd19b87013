"""Settings of a training run: a TOML recipe, command-line options over it.

::

    seed = 13

    [student]
    kind = "late-interaction"
    base = "all-MiniLM-L6-v2"

    [loss]
    name = "ranknet"

    [[sources]]
    path = "train.graded.jsonl.gz"
    layout = "graded"
    lists_per_step = 1
    list_size = 20

    [[sources]]
    path = "train.lists.jsonl.gz"
    layout = "listwise"
    lists_per_step = 4

    [schedule]
    steps = 300
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from distill.layouts import Layout
from distill.losses.settings import LossSettings
from distill.students.settings import StudentSettings
from indexing.errors import SettingsError
from indexing.settings import Section

Normalise = Literal["z-score", "min-max", "none"]


class SourceSettings(Section):
    """One file of training lists."""

    path: Path
    layout: Layout | Literal["pairs"] = "labels"
    name: str = Field("", description="in the log; empty: the file's name")
    teachers: tuple[str, ...] = Field((), description="only these teachers' lists; empty: all")
    consensus: Literal["none", "z-score", "grade"] = Field(
        "none", description="several teachers of a query as one list: mean of their scores, scaled so"
    )
    labels: Literal["teacher", "human"] = Field(
        "teacher", description="human: the human grades of the file, for a comparison row only"
    )
    normalise: Normalise = Field("z-score", description="of each list's scores, after any consensus")
    score_scale: float = Field(1.0, gt=0, le=1000, description="multiplies the normalised scores")
    lists_per_step: int = Field(4, ge=0, le=4096, description="lists drawn each step; 0: dev only")
    list_size: int = Field(8, ge=2, le=1000, description="passages drawn from a longer list")
    weight: float = Field(1.0, gt=0, le=1000, description="of this source's loss")
    hard_weight: float | None = Field(None, ge=0, le=1, description="in place of loss.hard_weight")
    dev_weight: float = Field(
        1.0, ge=0, le=1000, description="of this source in the dev metric; 0: shown only"
    )
    dev_share: float | None = Field(None, ge=0, lt=1, description="in place of dev.share")
    corpus: Path | None = Field(None, description="pairs: the passages negatives are mined from")
    negatives: int = Field(7, ge=1, le=200, description="pairs: negatives a query")
    skip_top: int = Field(0, ge=0, le=100, description="pairs: best-ranked negatives left out")
    mine: Literal["bm25", "hybrid"] = Field(
        "bm25", description="pairs: hybrid adds the shipped encoder's negatives, and the margin"
    )
    margin: float = Field(
        0.95,
        gt=0,
        le=1,
        description="pairs, hybrid: most a negative's cosine may be, as a share of the answer's",
    )


class OptimiserSettings(Section):
    """The optimiser, and what of the model it moves."""

    learning_rate: float = Field(2e-5, gt=0, le=1)
    head_learning_rate: float | None = Field(None, gt=0, le=10, description="None: the same")
    weight_decay: float = Field(0.01, ge=0, le=1)
    max_grad_norm: float = Field(1.0, ge=0, le=1000, description="0: not clipped")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    average: float = Field(
        0.0, ge=0, lt=1, description="decay of a running average of the weights, evaluated and kept; 0: none"
    )
    dropout: bool = Field(True, description="the base's own dropout while training; off for late interaction")
    freeze_embeddings: bool = False
    freeze_layers: int = Field(0, ge=0, le=200, description="lowest transformer layers that stay as they are")


class LoraSettings(Section):
    """Low-rank adapters in place of the encoder's own weights; merged before the model is saved."""

    rank: int = Field(0, ge=0, le=1024, description="0: full fine-tuning")
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = Field((), description="names of linear layers; empty: all of the encoder's")


class ScheduleSettings(Section):
    """How long, how often, on what."""

    steps: int = Field(300, ge=1)
    accumulate: int = Field(1, ge=1, le=4096, description="batches of one optimiser step")
    evaluate_every: int = Field(50, ge=1, description="steps; a checkpoint is written each time")
    evaluate_first: bool = Field(True, description="dev figures of the model before the first step")
    patience: int = Field(
        4, ge=0, description="evaluations without a better one before the end; 0: all steps"
    )
    min_gain: float = Field(0.0, ge=0, le=1, description="of dev NDCG@10 that counts as better")
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_activations: bool = Field(False, description="less memory, about a third more time")
    token_budget: int = Field(4096, ge=64, description="tokens, padding included, of one forward pass")
    threads: int = Field(0, ge=0, description="of torch; 0: its own choice")
    workers: int = Field(0, ge=0, le=16, description="processes that tokenise ahead")
    device: Literal["auto", "cpu"] = "auto"
    deterministic: bool = Field(True, description="algorithms that give the same weights from the same seed")


class DevSettings(Section):
    """The held-out queries that choose the checkpoint."""

    share: float = Field(0.1, ge=0, lt=1, description="of each source's queries, cut by a hash of the id")
    seed: int = Field(0, ge=0)
    queries: int = Field(0, ge=0, description="at most, of each source; 0: all")
    passages: int = Field(0, ge=0, description="at most, of each query; 0: all")


class GuardSettings(Section):
    """When a run is stopped."""

    collapse_std: float = Field(1e-3, ge=0, description="least standard deviation of a list's logits; 0: off")
    collapse_steps: int = Field(20, ge=1, description="steps in a row below it")


class TrainSettings(Section):
    """One training run."""

    seed: int = Field(13, ge=0, lt=2**32)
    licence: str = Field("not stated", description="of the trained model, given its data")
    student: StudentSettings = StudentSettings()
    loss: LossSettings = LossSettings()
    sources: tuple[SourceSettings, ...] = ()
    optimiser: OptimiserSettings = OptimiserSettings()
    lora: LoraSettings = LoraSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    dev: DevSettings = DevSettings()
    guard: GuardSettings = GuardSettings()
    exclude_queries: Path | None = Field(
        None, description="file of test queries, one id or text a line; none of them is trained on"
    )

    @model_validator(mode="after")
    def _something_to_train_on(self) -> TrainSettings:
        if self.sources and not any(one.lists_per_step for one in self.sources):
            raise ValueError("every source has lists_per_step = 0")
        return self


def load_recipe(config: Path | None, overrides: Mapping[str, Any], data: Path | None = None) -> TrainSettings:
    """Return the settings of a run: the recipe's, with ``overrides`` (nested mappings) over them.

    Relative paths of the recipe are read from ``data``, else from the recipe's own folder.

    Raises:
        SettingsError: no such file, not TOML, an unknown key, a value out of range.
    """
    fields: dict[str, Any] = {}
    if config is not None:
        try:
            fields = tomllib.loads(config.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"the recipe {config} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"the recipe {config} is not TOML: {error}") from error
        _anchor_paths(fields, data or config.parent)
    try:
        return TrainSettings.model_validate(_merged(fields, overrides))
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'recipe'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("the recipe is not valid: " + "; ".join(lines)) from error


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        both[key] = (
            _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return both


def _anchor_paths(fields: Mapping[str, Any], folder: Path) -> None:
    """Read relative paths of a recipe from the recipe's own folder."""
    for source in fields.get("sources", ()):
        for key in ("path", "corpus"):
            if isinstance(source, dict) and isinstance(source.get(key), str):
                source[key] = str(folder / Path(source[key]).expanduser())
    if isinstance(fields, dict) and isinstance(fields.get("exclude_queries"), str):
        fields["exclude_queries"] = str(folder / Path(fields["exclude_queries"]).expanduser())
