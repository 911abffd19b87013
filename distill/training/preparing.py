"""What is done to a student's module before it trains: frozen parts, adapters, checkpointed activations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distill.errors import TrainingError
from distill.students.protocol import Student
from distill.training.settings import LoraSettings, TrainSettings
from indexing.errors import MissingDependencyError

if TYPE_CHECKING:
    from torch import nn

_LAYER = re.compile(r"\.(?:layer|layers|h)\.(\d+)\.")


class Adapters:
    """The LoRA adapters inside a student's module; ``merge`` folds them into its weights."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def merge(self) -> None:
        self._wrapped.merge_and_unload()


def prepare(student: Student, settings: TrainSettings) -> Adapters | None:
    """Freeze, adapt and checkpoint as ``settings`` say; returns the adapters when there are any.

    Raises:
        TrainingError: nothing is left to train.
        MissingDependencyError: peft is not installed.
    """
    adapters = _add_adapters(student, settings.lora) if settings.lora.rank else None
    if adapters is None:
        _freeze(student, settings)
    if not settings.optimiser.dropout:
        _without_dropout(student.module)
    if settings.schedule.checkpoint_activations:
        for encoder in encoders(student.module):
            # The older name until transformers 5.2x; it goes away in 6.
            enable = getattr(encoder, "activation_checkpointing_enable", None)
            (enable or encoder.gradient_checkpointing_enable)({"use_reentrant": False})
    if not any(value.requires_grad for value in student.module.parameters()):
        raise TrainingError("every parameter is frozen; lower optimiser.freeze_layers")
    return adapters


def encoders(module: nn.Module) -> Iterator[Any]:
    """The outermost transformers models inside a module."""
    from transformers import PreTrainedModel

    inside: tuple[str, ...] = ()
    for name, part in module.named_modules():
        if isinstance(part, PreTrainedModel) and not name.startswith(inside or "\0"):
            inside = (*inside, f"{name}.")
            yield part


def _without_dropout(module: nn.Module) -> None:
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        for name in ("dropout_prob", "attention_dropout"):  # what fused attention reads
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)


def _freeze(student: Student, settings: TrainSettings) -> None:
    for name, value in student.module.named_parameters():
        layer = _LAYER.search(name)
        if layer is not None and int(layer.group(1)) < settings.optimiser.freeze_layers:
            value.requires_grad_(False)
        if ".embeddings." in name and settings.optimiser.freeze_embeddings:
            value.requires_grad_(False)


def _add_adapters(student: Student, settings: LoraSettings) -> Adapters:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingDependencyError("peft", "train", "training with LoRA") from error
    targets = list(settings.targets) or _linear_layers(student)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a float works; the annotation says int
        lora_dropout=settings.dropout,
        target_modules=targets,
    )
    try:
        # In place: the student's own module now holds the adapters, so the
        # trainer, the dev figures and the checkpoints need not know of them.
        wrapped = get_peft_model(student.module, config)
    except ValueError as error:
        raise TrainingError(f"LoRA cannot be added: {error}") from error
    for name, value in student.module.named_parameters():
        if name.startswith(student.head) if student.head else False:
            value.requires_grad_(True)
    return Adapters(wrapped)


def _linear_layers(student: Student) -> list[str]:
    """Full names of the linear layers outside the head."""
    import torch

    return [
        name
        for name, part in student.module.named_modules()
        if isinstance(part, torch.nn.Linear) and not (student.head and name.startswith(student.head))
    ]
