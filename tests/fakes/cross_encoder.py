"""A tiny XLM-R cross-encoder written to disk: real files, random weights.

``python -m tests.fakes.cross_encoder FOLDER`` writes one for a real vLLM server.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SERVED_TOKENS = 508
_CORPUS = [
    "Net cash provided by operating activities was $ 5.4 million in 2019.",
    "how much cash was provided by operations",
    "Deferred tax assets are recognised when it is probable that profit will be available.",
    "The board met four times. Cash paid for interest was small.",
    "经营活动产生的现金流量净额为五百四十万元。公司现金多少？",
]

SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


def build_cross_encoder(
    folder: Path,
    *,
    labels: int = 1,
    bias: float | None = None,
    seed: int = 13,
    bert: bool = False,
    max_tokens: int = 128,
    width: int = 32,
) -> Path:
    """Write tokenizer, config and safetensors weights to ``folder`` and return it.

    ``bert``: a BERT instead, whose second segment has a type of its own.
    """
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        XLMRobertaConfig,
        XLMRobertaForSequenceClassification,
    )

    fast = _tokenizer(max_tokens, bert=bert)
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(fast),
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": max_tokens + 4,
        "num_labels": labels,
        "initializer_range": 0.5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    if bert:
        model = BertForSequenceClassification(BertConfig(type_vocab_size=2, **shape))
    else:
        model = XLMRobertaForSequenceClassification(XLMRobertaConfig(type_vocab_size=1, **shape))
        if bias is not None:
            torch.nn.init.constant_(model.classifier.out_proj.bias, bias)
    model.eval().save_pretrained(folder, safe_serialization=True)
    fast.save_pretrained(folder)
    return folder


def _tokenizer(max_tokens: int, *, bert: bool) -> PreTrainedTokenizerFast:
    """Byte pairs of the corpus above, pairs joined as the model's own family joins them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1" if bert else "<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL_TOKENS,
        model_max_length=max_tokens,
        model_input_names=["input_ids", "attention_mask", *(["token_type_ids"] if bert else [])],
    )


def build_served(folder: Path) -> Path:
    """Write the one for vLLM: golden passages fit, and its CPU kernels know heads of this width."""
    return build_cross_encoder(folder, max_tokens=SERVED_TOKENS, width=128)


if __name__ == "__main__":
    build_served(Path(sys.argv[1]))
