"""A tiny Qwen3 causal LM written to disk: the real layout and chat template, random weights.

``yes`` and ``no`` are single tokens, as in the big ones; what it answers means nothing.
"""

from __future__ import annotations

from pathlib import Path

_CORPUS = [
    "Judge whether the passage answers the query. Answer yes or no.",
    "<Query>: how much cash was provided by operations\n<Passage>: Net cash provided was $ 5.4 million.",
    "yes no yes no Yes No",
    "[1] > [2] > [3] rank the passages by how well they answer the query",
    "The board met four times. The capital of France is Paris; rivers flow, banks lend money.",
    "经营活动产生的现金流量净额为五百四十万元。公司现金多少？ 判断这段文字能否回答问题。",
]
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)


def build_qwen3(
    folder: Path, *, layers: int = 2, hidden: int = 128, heads: int = 2, seed: int = 17, context: int = 4096
) -> Path:
    """Write tokenizer, config, chat template and safetensors weights to ``folder`` and return it."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=hidden // heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=context,
        initializer_range=0.2,  # larger than usual, so that random answers differ visibly
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    Qwen3ForCausalLM(config).eval().to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)
    return folder


def qwen3_bpe():
    """The tokenizer itself, which needs no transformers: byte-level BPE, trained on a few lines."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    split = [word for word in ("yes", "no") if len(tokenizer.encode(word).ids) > 1]
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in split])
    return tokenizer


def _tokenizer():
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=qwen3_bpe(), eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


if __name__ == "__main__":  # python -m tests.fakes.qwen3 FOLDER
    import sys

    build_qwen3(Path(sys.argv[1]))
