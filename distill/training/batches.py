"""Batches of lists as tensors: what the loop draws its steps from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from distill.students.protocol import Student
from distill.training.plan import Drawn, Stream

Batch = dict[str, Any]


class BatchDataset(Dataset[Batch]):
    """Batch ``n`` of this process, for every ``n`` of the run.

    Process ``rank`` of ``world`` takes every ``world``-th batch of the plan:
    two processes with one batch a step see what one process sees that
    accumulates two.
    """

    def __init__(
        self,
        student: Student,
        streams: Sequence[Stream],
        *,
        batches: int,
        token_budget: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._student = student
        self._streams = streams
        self._batches = batches
        self._token_budget = token_budget
        self._rank = rank
        self._world = world

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, number: int) -> Batch:
        place = number * self._world + self._rank
        drawn = [one for stream in self._streams for one in stream.batch(place)]
        return as_tensors(self._student, drawn, token_budget=self._token_budget)


def as_tensors(student: Student, drawn: Sequence[Drawn], *, token_budget: int) -> Batch:
    """Return features for the student, and ``labels``, ``positives``, ``mask`` ``(batch, n_docs)``."""
    width = max(len(one.texts) for one in drawn)
    labels = torch.zeros(len(drawn), width)
    positives = torch.zeros(len(drawn), width)
    mask = torch.zeros(len(drawn), width, dtype=torch.bool)
    for row, one in enumerate(drawn):
        size = len(one.texts)
        labels[row, :size] = torch.tensor(one.labels)
        positives[row, :size] = torch.tensor(one.positives, dtype=torch.float32)
        mask[row, :size] = True
    return {
        "features": dict(
            student.tokenise(
                [one.query for one in drawn], [one.texts for one in drawn], token_budget=token_budget
            )
        ),
        "targets": labels,
        "positives": positives,
        "mask": mask,
        "sources": torch.tensor([one.source for one in drawn]),
    }
