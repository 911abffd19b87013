"""Exported graphs on OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from indexing.encoders.runtime import IntArray, Precision, available_cores
from indexing.errors import EncoderError, MissingDependencyError
from indexing.records import FloatArray


class OpenVinoRuntime:
    """An ONNX file compiled for the CPU; nothing is written to disk.

    A compile cache would save 0.3 s of a start at the price of 90 MB per index
    (its small mode saves nothing), so there is none.
    """

    name = "openvino"

    def __init__(self, model: Path, *, precision: Precision, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingDependencyError("openvino", "openvino", "the OpenVINO runtime") from error
        core = openvino.Core()
        self.precision = _resolve(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            # One stream: a batch uses every core; callers pack batches and never run two at once.
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads or available_cores()),
            # Pinned threads wait for their core when another process has it: on a busy machine of
            # two cores the default gave 181 sentences/s, free threads 210.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = core.compile_model(str(model), "CPU", options)
            self._request = compiled.create_infer_request()
            self._output = compiled.output(0)
        except RuntimeError as error:
            raise EncoderError(f"{model} does not load in OpenVINO: {error}") from error

    def run(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        try:
            result = self._request.infer({"input_ids": input_ids, "attention_mask": attention_mask})
        except RuntimeError as error:
            raise EncoderError(f"OpenVINO failed on a batch of shape {input_ids.shape}: {error}") from error
        return np.array(result[self._output], dtype=np.float32)


def _resolve(precision: Precision, capabilities: list[str]) -> Literal["fp32", "bf16", "int8"]:
    if precision == "auto":
        return "bf16" if "BF16" in capabilities else "fp32"
    if precision == "bf16" and "BF16" not in capabilities:
        raise EncoderError("this CPU has no bf16 arithmetic; set encoders.precision to fp32 or auto")
    return precision
