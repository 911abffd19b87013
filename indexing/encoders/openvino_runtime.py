"""Exported graphs on OpenVINO."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from indexing.encoders.int8_weights import GROUP, with_int8_weights
from indexing.encoders.manifest import INT8_MODEL
from indexing.encoders.runtime_types import IntArray, Precision, available_cores
from indexing.errors import EncoderError, MissingDependencyError
from indexing.records import FloatArray

_WAKING = threading.Lock()


class OpenVinoRuntime:
    """An ONNX file compiled for the CPU; nothing is written to disk.

    A compile cache would save 0.3 s of a start at the price of 90 MB per index
    (its small mode saves nothing), so there is none.
    """

    name = "openvino"

    def __init__(self, model: Path, *, precision: Precision, threads: int, streams: int = 1) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingDependencyError("openvino", "openvino", "the OpenVINO runtime") from error
        wake_bindings(openvino)
        core = openvino.Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = _resolve(precision, capabilities)
        threads = threads or available_cores()
        self.streams = min(streams, threads)
        # What int8 leaves (attention, norms) runs in the fastest arithmetic there is.
        bf16 = self.precision == "bf16" or (self.precision == "int8" and "BF16" in capabilities)
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            # One stream unless asked: a batch uses every core, and run() never runs two at once.
            "NUM_STREAMS": str(self.streams),
            "INFERENCE_NUM_THREADS": str(threads),
            # Pinned threads wait for their core when another process has it: on a busy machine of
            # two cores the default gave 181 sentences/s, free threads 210.
            "ENABLE_CPU_PINNING": False,
        }
        graph: Any = str(model)
        try:
            if self.precision == "int8" and model.name != INT8_MODEL:
                graph = with_int8_weights(core, model)
                options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(GROUP)
            compiled = core.compile_model(graph, "CPU", options)
            self._request = compiled.create_infer_request()
            self._requests = [compiled.create_infer_request() for _ in range(self.streams)]
            self._output = compiled.output(0)
        except RuntimeError as error:
            raise EncoderError(f"{model} does not load in OpenVINO: {error}") from error

    def run(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        try:
            result = self._request.infer({"input_ids": input_ids, "attention_mask": attention_mask})
        except RuntimeError as error:
            raise EncoderError(f"OpenVINO failed on a batch of shape {input_ids.shape}: {error}") from error
        return np.array(result[self._output], dtype=np.float32)

    def run_many(self, inputs: Sequence[tuple[IntArray, IntArray]]) -> list[FloatArray]:
        """Return each batch's output; as many run at once as there are streams.

        Plain requests, waited for in turn: an ``AsyncInferQueue`` calls back
        from the engine's threads, and one that was let go after a failure
        while such a call was on its way brought the process down.
        """
        if self.streams < 2 or len(inputs) < 2:
            return [self.run(*one) for one in inputs]
        found: list[FloatArray] = []
        running: deque[Any] = deque()
        try:
            for place, (ids, mask) in enumerate(inputs):
                if len(running) == self.streams:
                    found.append(self._finished(running.popleft()))
                request = self._requests[place % self.streams]
                request.start_async({"input_ids": ids, "attention_mask": mask})
                running.append(request)
            while running:
                found.append(self._finished(running.popleft()))
        except RuntimeError as error:
            for request in running:
                with contextlib.suppress(RuntimeError):
                    request.wait()
            raise EncoderError(f"OpenVINO failed on one of {len(inputs)} batches: {error}") from error
        return found

    def _finished(self, request: Any) -> FloatArray:
        request.wait()
        return np.array(request.get_tensor(self._output).data, dtype=np.float32)


def wake_bindings(openvino: Any) -> None:
    """Make the binding build its tables of numpy types now, in one thread.

    They are static variables of C++ whose first use imports a part of numpy:
    it lets go of the GIL and holds the variable's guard.  A second thread that
    comes to the guard meanwhile waits for it with the GIL, and the process
    never moves again, signals included (seen with OpenVINO 2026.4, where an
    encoder and a reranker answered their first question at once).
    """
    with _WAKING:
        _ = openvino.Tensor(np.zeros((1,), np.int64)).data
        _ = openvino.Tensor(openvino.Type.f32, openvino.Shape([1])).data


def _resolve(precision: Precision, capabilities: list[str]) -> Literal["fp32", "bf16", "int8"]:
    if precision == "auto":
        return "bf16" if "BF16" in capabilities else "fp32"
    if precision == "bf16" and "BF16" not in capabilities:
        raise EncoderError("this CPU has no bf16 arithmetic; set encoders.precision to fp32 or auto")
    return precision
