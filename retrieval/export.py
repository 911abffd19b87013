"""Cross-encoder folder to exported reranker folder.

::

    python -m retrieval.export SOURCE_FOLDER OUT_FOLDER [--name NAME] [--max-tokens 512]

The source is any safetensors folder of a sequence classifier with one label
(bge-reranker, ms-marco MiniLM).  Segment ids, where the model has them, are
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
    model, tokenizer = _open(source)
    longest = min(max_tokens, int(tokenizer.model_max_length))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        traced = _traceable(model, tokenizer.sep_token_id)
        _write_graph(traced, folder / MODEL)
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        (folder / TOKENIZER).write_text(backend.to_str(), encoding="utf-8")
        _compare(traced, folder / MODEL, tokenizer, longest)
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


def _open(source: Path) -> tuple[Any, Any]:
    try:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError("transformers", "train", "exporting a reranker") from error
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise EncoderError(f"{source} is not a cross-encoder that loads: {error}") from error
    one_label(source, model.config.num_labels)
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise EncoderError(f"{source} has no fast tokenizer (tokenizer.json); none can be exported")
    return model, tokenizer


def _traceable(model: Any, separator: int) -> Any:
    """The model as ids and mask to logits; the second segment begins behind the first separator."""
    import torch

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


def _write_graph(scorer: Any, path: Path) -> None:
    import torch

    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [5, 6, 7, 8, 9, 1, 1, 1]])
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    dynamic = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated and its tracer wary; the comparison decides.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            scorer,
            (ids, mask),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": dynamic, "attention_mask": dynamic, "logits": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _compare(scorer: Any, graph: Path, tokenizer: Any, longest: int) -> None:
    """Refuse a graph whose logits differ from its source's, over shapes with padding."""
    import torch

    runtime = open_runtime(graph, runtime="auto", precision="fp32", threads=0)
    generator = np.random.default_rng(17)
    for batch, length in _SHAPES:
        length = min(length, longest)
        ids = generator.integers(0, len(tokenizer), (batch, length), dtype=np.int64)
        ids[:, length // 2] = tokenizer.sep_token_id
        lengths = generator.integers(1, length + 1, batch)
        lengths[0] = length
        mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
        ids[mask == 0] = tokenizer.pad_token_id or 0
        with torch.no_grad():
            wanted = scorer(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        worst = float(np.abs(runtime.run(ids, mask).reshape(batch) - wanted).max())
        logger.info("batch %d, %d tokens: logits differ by at most %.2e", batch, length, worst)
        if not worst <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise EncoderError(f"the exported graph's logits differ from the source's by {worst:.2e}")


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
