"""Graph surgery of the export: tracing, half-precision storage, int8 weights."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.encoders.manifest import INT8_MODEL, MODEL
from indexing.errors import MissingDependencyError

if TYPE_CHECKING:
    import onnx
    from sentence_transformers import SentenceTransformer

OPSET = 17
_FP16_FROM = 1024  # elements; smaller tensors (biases, norms) stay fp32 and cost nothing
_FP16_MAX = 65504.0
_FP16_SUFFIX = ".fp16"


def pipeline(model: SentenceTransformer) -> Any:
    """The folder's modules in order as one traceable module: ids and mask to unit vectors."""
    import torch

    class Pipeline(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = torch.nn.ModuleList(list(model))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            features: dict[str, torch.Tensor] = {"input_ids": input_ids, "attention_mask": attention_mask}
            for step in self.steps:
                features = step(features)
            return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)

    return Pipeline().eval()


def write_graph(model: SentenceTransformer, path: Path) -> None:
    import torch

    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("onnx", "train", "exporting an encoder") from error

    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [5, 6, 7, 8, 9, 0, 0, 0]])
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    dynamic = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated and its tracer wary; the comparison decides.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            pipeline(model),
            (ids, mask),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={"input_ids": dynamic, "attention_mask": dynamic, "embedding": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load(path)
    store_as_fp16(graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def store_as_fp16(model: onnx.ModelProto) -> None:
    """Replace large fp32 initialisers by fp16 ones with a cast to fp32 behind each."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _FP16_FROM or np.abs(values).max() > _FP16_MAX:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + _FP16_SUFFIX))
        casts.append(
            helper.make_node("Cast", [tensor.name], [name], name=name + ".cast", to=TensorProto.FLOAT)
        )
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def write_int8(folder: Path) -> None:
    """Weights per channel to int8, activations at run time: smaller and faster, measurably less exact."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "onnxruntime", "exporting int8 weights") from error
    import onnx

    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "fp32.onnx"
        graph = onnx.load(folder / MODEL)
        _fold_casts(graph)
        onnx.save(graph, plain)
        quantize_dynamic(
            plain,
            folder / INT8_MODEL,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=False,
            op_types_to_quantize=["MatMul"],
        )


def _fold_casts(model: onnx.ModelProto) -> None:
    """Undo :func:`store_as_fp16`: the quantiser only sees weights that are initialisers."""
    from onnx import numpy_helper

    casts = {
        node.input[0]: node.output[0]
        for node in model.graph.node
        if node.op_type == "Cast" and node.input[0].endswith(_FP16_SUFFIX)
    }
    for tensor in model.graph.initializer:
        if tensor.name in casts:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, casts[tensor.name]))
    kept = [node for node in model.graph.node if not node.input or node.input[0] not in casts]
    del model.graph.node[:]
    model.graph.node.extend(kept)
