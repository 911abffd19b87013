"""The processes of one training run: torchrun starts them, they join and leave here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.training.settings import TrainSettings


def join(settings: TrainSettings) -> tuple[bool, int, int]:
    """Join the other processes (torchrun sets the environment); ``(is main, rank, world)``."""
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    if settings.schedule.threads:
        torch.set_num_threads(settings.schedule.threads)
    if torch.distributed.is_available():
        # Its functions take the group of all processes as a default.  Imported after
        # joining (DistributedDataParallel does), they would keep that group for ever.
        import torch.distributed.nn.functional
    state = PartialState(cpu=settings.schedule.device == "cpu" or not torch.cuda.is_available())
    return bool(state.is_main_process), int(state.process_index), int(state.num_processes)


def leave() -> None:
    """End the threads that :func:`join` started; of no effect in a run of one process.

    For a process that is about to end: a thread of gloo's that still holds a tensor
    while the interpreter is taken down aborts its process, and torchrun then stops
    the one that is writing the model.
    """
    import gc

    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # the trainer is a cycle, and holds the group
        torch.distributed.destroy_process_group()
