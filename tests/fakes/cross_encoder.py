"""A tiny XLM-R cross-encoder written to disk: real files, random weights."""

from __future__ import annotations

from pathlib import Path

_CORPUS = [
    "Net cash provided by operating activities was $ 5.4 million in 2019.",
    "how much cash was provided by operations",
    "Deferred tax assets are recognised when it is probable that profit will be available.",
    "The board met four times. Cash paid for interest was small.",
    "经营活动产生的现金流量净额为五百四十万元。公司现金多少？",
]


def build_cross_encoder(
    folder: Path, *, labels: int = 1, bias: float | None = None, seed: int = 13, bert: bool = False
) -> Path:
    """Write tokenizer, config and safetensors weights to ``folder`` and return it.

    ``bert``: a BERT instead, whose second segment has a type of its own.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
        XLMRobertaConfig,
        XLMRobertaForSequenceClassification,
    )

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
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask", *(["token_type_ids"] if bert else [])],
    )
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 132,
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
