"""One small interface over the two engines that run an exported graph.

Measured by ``python -m benchmarks.encoders``: OpenVINO is the default because
it computes in bf16 where the CPU can, at 1.8 times the speed of fp32 and a cosine
above .9999; ONNX Runtime takes 72 MB of disk, not 185, and serves where
OpenVINO has no wheel.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from indexing.encoders.manifest import INT8_MODEL
from indexing.encoders.runtime_types import IntArray, Precision, Runtime, RuntimeName, available_cores
from indexing.errors import EncoderError, MissingDependencyError

logger = logging.getLogger(__name__)

__all__ = ["IntArray", "Precision", "Runtime", "RuntimeName", "available_cores", "open_runtime"]


def open_runtime(
    model: Path, *, runtime: RuntimeName, precision: Precision, threads: int, streams: int = 1
) -> Runtime:
    """Load the ONNX file ``model``; ``threads`` 0 means every core this process may use.

    ``runtime="auto"`` takes OpenVINO when it is installed, else ONNX Runtime.
    ``precision="auto"`` takes bf16 when engine and CPU have it, else fp32;
    int8 is never chosen by itself (cosine .98 to fp32) and runs the file that
    ``python -m indexing.encoders.export --int8`` writes beside the graph; an
    OpenVINO that is asked for by name rounds the graph's own weights instead.
    ``streams`` (OpenVINO's): batches that :meth:`Runtime.run_many` computes
    side by side, each on its share of the threads.

    Raises:
        EncoderError: a graph that does not load, a precision that is not to be had here.
        MissingDependencyError: no engine is installed, or not the one asked for.
    """
    if precision == "int8" and runtime != "openvino":
        model = model.with_name(INT8_MODEL)
        if not model.is_file():
            raise EncoderError(
                f"{model} is missing; export the model with int8 weights: "
                "python -m indexing.encoders.export SOURCE_FOLDER OUT_FOLDER --int8"
            )
    chosen = runtime if runtime != "auto" else _installed(precision)
    logger.debug("loading %s with %s", model, chosen)
    if chosen == "openvino":
        from indexing.encoders.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(model, precision=precision, threads=threads, streams=streams)
    from indexing.encoders.onnx_runtime import OnnxRuntime

    return OnnxRuntime(model, precision=precision, threads=threads)


def _installed(precision: Precision) -> Literal["openvino", "onnxruntime"]:
    """The engine to take: for int8 ONNX Runtime first, whose int8 kernels are 2.6 times as fast."""
    order: tuple[Literal["openvino", "onnxruntime"], ...] = ("openvino", "onnxruntime")
    for name in reversed(order) if precision == "int8" else order:
        if find_spec(name) is not None:
            return name
    raise MissingDependencyError("openvino", "onnxruntime", "running an exported encoder")
