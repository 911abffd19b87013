"""The loop: transformers' Trainer, with a student in place of its model and lists in place of its rows.

sentence-transformers' CrossEncoderTrainer derives from the same class, but
tokenises inside its losses, a whole batch padded to its longest pair, and
knows only its own models.  Here both kinds of student share one loop: the
batch arrives tokenised and packed by length, the student gives logits, the
loss sees matrices.  Checkpoints, resuming, schedules, mixed precision,
accumulation and several processes are the Trainer's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from distill.losses import LossSettings, build_hard_loss, build_loss
from distill.students.protocol import Student
from distill.students.scoring import token_counts
from distill.training.average import Average, moving, put
from distill.training.batches import Batch, BatchDataset
from distill.training.dev import METRIC, DevSet, dev_metrics, score_sets
from distill.training.guard import Guard
from distill.training.settings import OptimiserSettings

_WEIGHTS = "student.safetensors"
DEV_METRIC = "eval_ndcg"


@dataclass(frozen=True, slots=True)
class SourceLoss:
    """How much one source counts, and how much hard labels count in it."""

    weight: float
    hard_weight: float


class ListTrainer(Trainer):
    """Trains ``student`` on batches of lists; ``evaluate`` is the dev split's NDCG@10."""

    def __init__(
        self,
        student: Student,
        args: TrainingArguments,
        batches: BatchDataset,
        *,
        dev: Sequence[DevSet],
        loss: LossSettings,
        sources: Sequence[SourceLoss],
        optimiser: OptimiserSettings,
        guard: Guard,
        average: Average,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self._student = student
        self._batches = batches
        self._dev = dev
        self._soft = build_loss(loss)
        self._hard = build_hard_loss(loss)
        self._loss_settings = loss
        self._source_losses = sources
        self._optimiser = optimiser
        self._guard = guard
        self._average = average
        self.tokens = [0, 0]  # without and with padding, of this process
        super().__init__(
            model=student.module,
            args=args,
            train_dataset=batches,
            # Only asked whether it is there: evaluate() below has its own data.
            eval_dataset=list(dev) or None,
            callbacks=[average, *callbacks],
        )
        self.remove_callback(PrinterCallback)  # a library does not print
        # The loss is a mean over the batch: the Trainer divides by the number of batches of a step.
        self.model_accepts_loss_kwargs = False

    def get_train_dataloader(self) -> DataLoader[Batch]:
        # Not handed to accelerate: the data set already holds this process' share.
        return DataLoader(
            self._batches,
            batch_size=1,
            shuffle=False,
            collate_fn=_only,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=False,
        )

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        for place, count in enumerate(token_counts(inputs["features"])):
            self.tokens[place] += count
        logits = model(**inputs["features"]).float()
        mask = inputs["mask"]
        with torch.autocast(logits.device.type, enabled=False):
            loss = self._loss_of(logits, inputs)
        self._guard.look(loss, logits, inputs["targets"], mask, step=self.state.global_step)
        return (loss, {"logits": logits}) if return_outputs else loss

    def _loss_of(self, logits: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Weighted mean of the sources' losses: each is a mean over its own pairs or lists."""
        total = logits.new_zeros(())
        weight = 0.0
        for place, source in enumerate(self._source_losses):
            rows = inputs["sources"] == place
            if not bool(rows.any()):
                continue
            matrices = logits[rows], inputs["mask"][rows]
            total = total + source.weight * self._mixed(*matrices, inputs, rows, source.hard_weight)
            weight += source.weight
        return total / max(weight, 1e-12)

    def _mixed(
        self,
        logits: torch.Tensor,
        mask: torch.Tensor,
        inputs: Mapping[str, Any],
        rows: torch.Tensor,
        hard_weight: float,
    ) -> torch.Tensor:
        if self._hard is None:
            hard_weight = 0.0
        elif self._soft is None:
            hard_weight = 1.0
        mixed = logits.new_zeros(())
        if self._soft is not None and hard_weight < 1:
            mixed = mixed + (1 - hard_weight) * self._soft(logits, inputs["targets"][rows], mask)
        if self._hard is not None and hard_weight > 0:
            mixed = mixed + hard_weight * self._hard(logits, inputs["positives"][rows], mask)
        return mixed

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return ``eval_ndcg`` and each set's own figure; every process scores its share."""
        metrics = self.dev_figures()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def dev_figures(self) -> dict[str, float]:
        """Return the figures of the student as it is now; all processes must call it together."""
        with self._average.applied():
            mine = score_sets(self._student, self._dev, rank=self._rank, world=self._world)
        scores: list[Any] = [mine]
        if self._world > 1:
            from accelerate.utils import gather_object  # type: ignore[import-untyped]

            scores = gather_object(scores)
        together = {
            one.name: {key: value for part in scores for key, value in part[one.name].items()}
            for one in self._dev
        }
        found = dev_metrics(together, self._dev)
        metrics = {DEV_METRIC: found.pop(METRIC)}
        return metrics | {f"{DEV_METRIC}/{name}": value for name, value in found.items()}

    @property
    def _rank(self) -> int:
        return int(self.args.process_index)

    @property
    def _world(self) -> int:
        return int(self.args.world_size)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; the head has its own learning rate, biases and norms no weight decay."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(
                parameter_groups(self._student, self._optimiser), lr=self._optimiser.learning_rate
            )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        values = {name: value.detach().cpu().contiguous() for name, value in moving(self._student).items()}
        save_file(values, folder / _WEIGHTS)
        self._average.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        put(self._student, load_file(folder / _WEIGHTS))
        self._average.load(folder)

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint is not None:
            self._load_from_checkpoint(self.state.best_model_checkpoint)


def parameter_groups(student: Student, settings: OptimiserSettings) -> list[dict[str, Any]]:
    """Return AdamW's groups: encoder and head, each with and without weight decay."""
    head_rate = settings.head_learning_rate or settings.learning_rate
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, value in student.module.named_parameters():
        if value.requires_grad:
            in_head = name.startswith(student.head) if student.head else False
            groups.setdefault((in_head, value.ndim > 1), []).append(value)
    return [
        {
            "params": values,
            "lr": head_rate if in_head else settings.learning_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (in_head, decays), values in groups.items()
    ]


def _only(batches: list[Batch]) -> Batch:
    return batches[0]
