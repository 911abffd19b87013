"""Exported rerankers small enough to write in a test, and real enough to run.

The late-interaction graph is one lookup: a token's vector is a random row of a
table, so equal words match exactly and others hardly; no torch is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexing.encoders.manifest import MODEL, TOKENIZER, sha256_of
from retrieval.exported_manifest import Interaction, RerankerManifest, Span
from retrieval.rerank import MANIFEST

_TEXT = (
    "how do i open a file you with the function weather was sunny all week close cash flow bank river of in"
)
WORDS = _TEXT.split()


def late_interaction_folder(
    folder: Path,
    *,
    name: str = "tiny-late",
    scripts: Sequence[str] | None = ("Latin",),
    sign: float = 1.0,
    cosine: float = 1.0,
    maxsim: float = 2.0,
    seed: int = 3,
    dimensions: int = 16,
    max_tokens: int = 32,
    query_tokens: int = 12,
    weighed: bool = False,
) -> Path:
    """Write the folder; ``sign=-1`` makes a model that prefers what fits least."""
    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    size = tokenizer.get_vocab_size()
    table = np.random.default_rng(seed).normal(size=(size, dimensions + weighed)).astype(np.float32)
    _lookup_graph(table, folder / MODEL)
    manifest = RerankerManifest(
        kind="late-interaction",
        name=name,
        scripts=None if scripts is None else tuple(scripts),
        max_tokens=max_tokens,
        interaction=Interaction(
            coefficients={"cosine": sign * cosine, "maxsim": sign * maxsim},
            pooled=Span(start=0, stop=dimensions),
            tokens=Span(start=0, stop=dimensions),
            weight=dimensions if weighed else None,
            query_tokens=query_tokens,
        ),
        licence="none: random weights",
        source="test",
        source_weights_sha256="0" * 64,
        files={file: sha256_of(folder / file) for file in (MODEL, TOKENIZER)},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def _tokenizer():  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789?.,"]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *letters, *(f"##{one}" for one in letters)]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def _lookup_graph(table: np.ndarray, path: Path) -> None:
    """``table[input_ids] * attention_mask``: the mask is an input as in real graphs."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    shape = ["batch", "tokens"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "lookup",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [*shape, table.shape[1]])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, path)
