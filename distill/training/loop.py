"""Settings to a Trainer: the one place that knows transformers' argument names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from distill.students.protocol import Student
from distill.training.average import Average
from distill.training.batches import BatchDataset
from distill.training.dev import DevSet
from distill.training.guard import Guard
from distill.training.journal import Journal, JournalCallback
from distill.training.plan import Stream
from distill.training.settings import TrainSettings
from distill.training.sources import Source
from distill.training.trainer import DEV_METRIC, ListTrainer, SourceLoss


def build_trainer(
    student: Student,
    settings: TrainSettings,
    sources: Sequence[Source],
    dev: Sequence[DevSet],
    checkpoints: Path,
    journal: Journal,
    processes: tuple[int, int],
    average: Average,
) -> ListTrainer:
    """Return the trainer of a run; ``processes`` is ``(rank, world)``."""
    rank, world = processes
    streams = streams_of(sources, seed=settings.seed)
    batches = BatchDataset(
        student,
        streams,
        batches=settings.schedule.steps * settings.schedule.accumulate,
        token_budget=settings.schedule.token_budget,
        rank=rank,
        world=world,
    )
    guard = Guard(settings.guard)
    callbacks: list[TrainerCallback] = [JournalCallback(journal, guard)]
    if dev and settings.schedule.patience:
        callbacks.append(EarlyStoppingCallback(settings.schedule.patience, settings.schedule.min_gain))
    return ListTrainer(
        student,
        arguments(settings, checkpoints, evaluates=bool(dev)),
        batches,
        dev=dev,
        loss=settings.loss,
        sources=[
            SourceLoss(
                one.settings.weight,
                settings.loss.hard_weight if one.settings.hard_weight is None else one.settings.hard_weight,
            )
            for one in sources
        ],
        optimiser=settings.optimiser,
        guard=guard,
        average=average,
        callbacks=callbacks,
    )


def streams_of(sources: Sequence[Source], *, seed: int) -> list[Stream]:
    """Return one endless sequence per source that is trained on; its number is the source's place."""
    streams = []
    for place, one in enumerate(sources):
        lists = one.training_lists()
        if lists and one.settings.lists_per_step:
            streams.append(Stream(place, lists, one.settings.lists_per_step, one.settings.list_size, seed))
    return streams


def arguments(settings: TrainSettings, checkpoints: Path, *, evaluates: bool) -> TrainingArguments:
    """Return the Trainer's arguments; without a dev split it neither evaluates nor chooses."""
    schedule = settings.schedule
    return TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=schedule.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=schedule.accumulate,
        learning_rate=settings.optimiser.learning_rate,
        weight_decay=settings.optimiser.weight_decay,
        max_grad_norm=settings.optimiser.max_grad_norm,
        lr_scheduler_type=settings.optimiser.schedule,
        warmup_steps=round(settings.optimiser.warmup * schedule.steps),
        bf16=schedule.precision == "bf16",
        use_cpu=schedule.device == "cpu" or not torch.cuda.is_available(),  # bf16 wants it said
        seed=settings.seed,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=schedule.evaluate_every,
        save_strategy="steps",
        save_steps=schedule.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=evaluates,
        metric_for_best_model=DEV_METRIC if evaluates else None,
        greater_is_better=True if evaluates else None,
        logging_steps=min(10, schedule.evaluate_every),
        logging_nan_inf_filter=False,
        dataloader_num_workers=schedule.workers,
        ddp_find_unused_parameters=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
