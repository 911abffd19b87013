"""Cross-encoder folder to exported reranker folder.

::

    python -m retrieval.export SOURCE_FOLDER OUT_FOLDER [--name NAME] [--max-tokens 512]

The source is any safetensors folder of a sequence classifier with one label
(bge-reranker, ms-marco MiniLM).  ``python -m distill export`` does the same for
students, with measured variants.  Segment ids, where the model has them, are
worked out inside the graph, so that every exported graph takes the same two
inputs.  The graph is compared with its source before it is kept.  Needs the
``train`` extra; what it writes needs neither torch nor transformers.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexing.encoders.manifest import MODEL, TOKENIZER, sha256_of, weights_sha256
from indexing.encoders.runtime import open_runtime
from indexing.errors import EncoderError, MissingDependencyError, WinnowError
from retrieval.exported_manifest import RerankerManifest
from retrieval.first_token import shorten_last_layer
from retrieval.rerank import MANIFEST, one_label, refuse_unsafe

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of the logits' own spread, at least 1
_OPSET = 17
_SHAPES = ((1, 3), (2, 7), (5, 31), (3, 64))


def export(source: Path, out: Path, *, name: str | None = None, max_tokens: int = 512) -> RerankerManifest:
    """Write the exported folder ``out`` and return its manifest.

    Raises:
        EncoderError: the source is not a cross-encoder that is safe to load,
            ``out`` is not empty, or the graph's logits differ from the source's.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    refuse_unsafe(source)
    if out.exists() and any(out.iterdir()):
        raise EncoderError(f"{out} is not empty; name a new folder")
    model, tokenizer = open_cross_encoder(source)
    longest = min(max_tokens, int(tokenizer.model_max_length))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        traced = traceable(model, tokenizer.sep_token_id)
        write_graph(traced, folder / MODEL)
        write_tokenizer(tokenizer, folder / TOKENIZER)
        compare(traced, folder / MODEL, tokenizer, longest)
        manifest = RerankerManifest(
            name=name or source.resolve().name,
            max_tokens=longest,
            source=source.resolve().name,
            source_weights_sha256=weights_sha256(source.glob("*.safetensors")),
            files={file: sha256_of(folder / file) for file in (MODEL, TOKENIZER)},
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        folder.rename(out)
    return manifest


def write_tokenizer(tokenizer: Any, path: Path) -> None:
    """Write a fast tokenizer's file, without truncation and padding."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    path.write_text(backend.to_str(), encoding="utf-8")


def open_cross_encoder(source: Path) -> tuple[Any, Any]:
    """Return ``(model, tokenizer)`` of a sequence classifier with one label, in fp32 for tracing.

    Raises:
        EncoderError: the folder does not load, or has no fast tokenizer.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    model, tokenizer = open_for_tracing(source, "AutoModelForSequenceClassification", "a cross-encoder")
    one_label(source, model.config.num_labels)
    return model, tokenizer


def open_for_tracing(source: Path, loader: str, kind: str) -> tuple[Any, Any]:
    """Return ``(model, tokenizer)`` of a safetensors folder in fp32, with attention that can be traced.

    Args:
        source: the folder; nothing is downloaded, and no code in it runs.
        loader: one of transformers' ``AutoModel`` classes.
        kind: what the folder should be, for the message.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingDependencyError("transformers", "train", "exporting a reranker") from error
    try:
        model = (
            getattr(transformers, loader)
            .from_pretrained(
                source,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
            )
            .eval()
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise EncoderError(f"{source} is not {kind} that loads: {error}") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise EncoderError(f"{source} has no fast tokenizer (tokenizer.json); none can be exported")
    return model, tokenizer


def traceable(model: Any, separator: int) -> Any:
    """The model as ids and mask to logits; the second segment begins behind the first separator."""
    import torch

    shorten_last_layer(model)
    has_segments = getattr(model.config, "type_vocab_size", 1) > 1

    class Scorer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
            if has_segments:
                ends = (input_ids == separator).long()
                inputs["token_type_ids"] = (ends.cumsum(1) - ends).clamp(max=1) * attention_mask
            logits: torch.Tensor = self.inner(**inputs, return_dict=True).logits
            return logits[:, 0]

    return Scorer().eval()


def write_graph(module: Any, path: Path, *, output: str = "logits", tokens_axis: bool = False) -> None:
    """Trace ``module`` (ids and mask to one output) into an ONNX file.

    ``tokens_axis``: the output has a row per token, not one per text.
    """
    import torch

    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [5, 6, 7, 8, 9, 1, 1, 1]])
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    dynamic = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated and its tracer wary; the comparison decides.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (ids, mask),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=[output],
            dynamic_axes={
                "input_ids": dynamic,
                "attention_mask": dynamic,
                output: dynamic if tokens_axis else {0: "batch"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )


def compare(module: Any, graph: Path, tokenizer: Any, longest: int, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference between a graph and its source, over shapes with padding.

    Relative to the outputs' own spread, at least 1; what stands at padded
    places does not count.

    Raises:
        EncoderError: it is greater than ``tolerance``.
    """
    import torch

    runtime = open_runtime(graph, runtime="auto", precision="fp32", threads=0)
    generator = np.random.default_rng(17)
    worst = 0.0
    for batch, length in _SHAPES:
        length = min(length, longest)
        ids = generator.integers(0, len(tokenizer), (batch, length), dtype=np.int64)
        ids[:, length // 2] = tokenizer.sep_token_id
        lengths = generator.integers(1, length + 1, batch)
        lengths[0] = length
        mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
        ids[mask == 0] = tokenizer.pad_token_id or 0
        with torch.no_grad():
            wanted = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        got = runtime.run(ids, mask).reshape(wanted.shape)
        if wanted.ndim == 3:
            wanted, got = wanted[mask > 0], got[mask > 0]
        difference = float(np.abs(got - wanted).max()) / max(1.0, float(np.abs(wanted).max()))
        logger.info("batch %d, %d tokens: outputs differ by at most %.2e", batch, length, difference)
        worst = max(worst, difference)
    if not worst <= tolerance:
        raise EncoderError(f"the exported graph's outputs differ from the source's by {worst:.2e}")
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m retrieval.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path, help="cross-encoder folder with safetensors weights")
    parser.add_argument("out", type=Path, help="folder to write; must not exist or be empty")
    parser.add_argument("--name", help="default: the source folder's name")
    parser.add_argument("--max-tokens", type=int, default=512)
    options = parser.parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    try:
        export(options.source, options.out, name=options.name, max_tokens=options.max_tokens)
    except WinnowError as error:
        sys.stderr.write(f"winnow: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
