"""Tiny real checkpoints in the layouts of their big originals, built on the spot with fixed seeds.

Weights are random, so vectors mean nothing; layouts, tokenizers and heads are the real ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.fakes.cross_encoder import SPECIAL_TOKENS

_WORDS = """
the a of and in search engine vector sentence window document query rank fusion dense sparse index
quick brown fox jumps over lazy dog capital france paris river bank money loan water flows
"""
WORDS = _WORDS.split()
LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789.,?!:;'-")
HAN = list("机器学习搜索引擎中文句子的是什么")
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
XLM_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def bert_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece over a small vocabulary: known words whole, others by letter."""
    entries = [*BERT_SPECIAL, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def _bert_config(tokenizer: PreTrainedTokenizerFast) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,  # larger than usual, so that random vectors differ visibly
    )


def sentence_transformer_folder(
    folder: Path, *, pooling: str = "mean", prompts: dict[str, str] | None = None, seed: int = 7
) -> Path:
    """A sentence-transformers folder: 32 dimensions, 48 tokens at most, normalised."""
    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    BertModel(_bert_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kinds = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{kinds}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kinds}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{kinds}.Normalize"},
    ]
    _write(folder / "modules.json", modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"prompts": prompts or {}})
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    modes = {f"pooling_mode_{name}": key == pooling for key, name in names.items()}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **modes})
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA test model.\n", encoding="utf-8")
    return folder


def splade_folder(folder: Path, *, seed: int = 11) -> Path:
    """A masked language model, which sentence-transformers opens as SPLADE with max pooling."""
    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    BertForMaskedLM(_bert_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def xlm_roberta_tokenizer() -> PreTrainedTokenizerFast:
    """Unigram with a word-boundary sign, special ids as in XLM-R (<s> 0, <pad> 1, </s> 2, <unk> 3)."""
    pieces = [f"\u2581{word}" for word in WORDS] + ["\u2581", *LETTERS, *HAN]
    vocabulary = [(token, 0.0) for token in XLM_SPECIAL[:4]]
    vocabulary += [(piece, -float(len(pieces)) / (1 + len(piece))) for piece in dict.fromkeys(pieces)]
    vocabulary.append((XLM_SPECIAL[4], 0.0))
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL_TOKENS,
        model_max_length=64,
    )


def bge_m3_folder(folder: Path, *, seed: int = 13) -> Path:
    """BGE-M3's original layout: ``pytorch_model.bin`` and two ``.pt`` heads, all pickles."""
    torch.manual_seed(seed)
    tokenizer = xlm_roberta_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        type_vocab_size=1,
        initializer_range=0.3,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model = XLMRobertaModel(config)
    config.architectures = ["XLMRobertaModel"]
    config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    torch.save(torch.nn.Linear(32, 32).state_dict(), folder / "colbert_linear.pt")
    torch.save(torch.nn.Linear(32, 1).state_dict(), folder / "sparse_linear.pt")
    tokenizer.save_pretrained(folder)
    return folder


class Canary:
    """Pickles to a call that creates ``path``: unpickling it the unsafe way leaves the file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_touch, (str(self.path),))


def _touch(path: str) -> dict[str, object]:
    Path(path).write_text("this pickle ran code", encoding="utf-8")
    return {}


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
