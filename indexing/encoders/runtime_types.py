"""What the engines of exported graphs have in common: their interface, arrays, precisions, cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from indexing.records import FloatArray

IntArray = npt.NDArray[np.int64]
RuntimeName = Literal["auto", "openvino", "onnxruntime"]
Precision = Literal["auto", "fp32", "bf16", "int8"]


class Runtime(Protocol):
    """A loaded graph; one call at a time."""

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> Literal["fp32", "bf16", "int8"]:
        """What the arithmetic runs in, after "auto" is resolved."""
        ...

    @property
    def streams(self) -> int:
        """How many batches of one :meth:`run_many` are computed side by side."""
        ...

    def run(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        """Return the graph's first output, ``(batch, ...)`` float32, in memory of its own."""
        ...

    def run_many(self, inputs: Sequence[tuple[IntArray, IntArray]]) -> list[FloatArray]:
        """Return :meth:`run` of each ``(input_ids, attention_mask)``, in their order."""
        ...


def available_cores() -> int:
    """Cores this process may run on (affinity mask included, where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
