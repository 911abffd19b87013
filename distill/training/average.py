"""A running average of the weights: what is evaluated and published, while the raw ones train on.

Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by
Averaging", 1992, in its exponential form; the average forgets fast at first
(``step / (step + 10)``), so that the start does not weigh on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from distill.students.protocol import Student

AVERAGE = "average.safetensors"


def moving(student: Student) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that train: with LoRA the adapters and the head."""
    return {name: value for name, value in student.module.named_parameters() if value.requires_grad}


class Average(TrainerCallback):
    """The exponential average of a student's parameters; ``decay`` 0 is the parameters themselves."""

    def __init__(self, student: Student, decay: float) -> None:
        self._student = student
        self._decay = decay
        self._values: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._decay and not self._values:
            self._values = {name: value.detach().clone() for name, value in moving(self._student).items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        decay = min(self._decay, state.global_step / (state.global_step + 10))
        with torch.no_grad():
            for name, value in moving(self._student).items():
                if name in self._values:
                    self._values[name].lerp_(value, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The student has the averaged weights inside, and its own again afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        with torch.no_grad():
            for name, value in moving(self._student).items():
                if name in self._values:
                    kept = value.detach().clone()
                    value.copy_(self._values[name])
                    self._values[name].copy_(kept)

    def keep(self) -> None:
        """Make the average the student's own weights."""
        put(self._student, self._values)

    def save(self, folder: Path) -> None:
        if self._values:
            save_file({name: value.cpu() for name, value in self._values.items()}, folder / AVERAGE)

    def load(self, folder: Path) -> None:
        if self._decay and (folder / AVERAGE).is_file():
            device = next(self._student.module.parameters()).device
            self._values = {name: value.to(device) for name, value in load_file(folder / AVERAGE).items()}


def put(student: Student, values: dict[str, torch.Tensor]) -> None:
    """Copy named values into the student's parameters."""
    with torch.no_grad():
        for name, value in student.module.named_parameters():
            if name in values:
                value.copy_(values[name])
