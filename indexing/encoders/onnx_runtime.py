"""Exported graphs on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from indexing.encoders.runtime_types import IntArray, Precision, available_cores
from indexing.errors import EncoderError, MissingDependencyError
from indexing.records import FloatArray


class OnnxRuntime:
    """An ONNX file in an inference session on the CPU."""

    name = "onnxruntime"
    streams = 1

    def __init__(self, model: Path, *, precision: Precision, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError("onnxruntime", "onnxruntime", "the ONNX Runtime engine") from error
        if precision == "bf16":
            raise EncoderError(
                "ONNX Runtime has no bf16 kernels for this graph on a CPU; "
                "set encoders.precision to fp32, or encoders.runtime to openvino"
            )
        self.precision: Literal["fp32", "int8"] = "int8" if precision == "int8" else "fp32"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle workers must sleep: a spinning pool takes the cores from the vector engine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the package raises classes of a private module
            raise EncoderError(f"{model} does not load in ONNX Runtime: {error}") from error

    def run(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        try:
            (result,) = self._session.run(None, feed)
        except Exception as error:  # the package raises classes of a private module
            raise EncoderError(
                f"ONNX Runtime failed on a batch of shape {input_ids.shape}: {error}"
            ) from error
        return np.array(result, dtype=np.float32)

    def run_many(self, inputs: Sequence[tuple[IntArray, IntArray]]) -> list[FloatArray]:
        return [self.run(*one) for one in inputs]
