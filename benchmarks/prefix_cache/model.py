"""A Qwen3 of random weights, large enough that reading a prompt costs time.

What it writes means nothing; how long it reads does not depend on that.  The
tokenizer is trained on Python's language reference, so that English has about
as many tokens as with a real one.

::

    python -m benchmarks.prefix_cache.model FOLDER [--hidden 512] [--layers 8]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VOCABULARY = 4096
_PAD, _END = "<|endoftext|>", "<|im_end|>"
_SPECIAL = [_PAD, "<|im_start|>", _END, "<think>", "</think>"]
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_model(folder: Path, *, hidden: int = 512, layers: int = 8, context: int = 16_384) -> Path:
    """Write config, weights in bf16, tokenizer and chat template; return the folder."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=_train_tokenizer(),
        eos_token=_END,
        pad_token=_PAD,
        unk_token=None,
    )
    tokenizer.chat_template = _TEMPLATE
    tokenizer.model_max_length = context
    torch.manual_seed(17)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
        head_dim=64,
        intermediate_size=3 * hidden,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(_PAD),
    )
    model: Any = Qwen3ForCausalLM(config)
    model = model.eval().to(torch.bfloat16)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


def _train_tokenizer() -> object:
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for _, text in sorted(topics.items())], trainer)
    return tokenizer


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a model; prints its folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hidden", type=int, default=512, help="a multiple of 128")
    parser.add_argument("--layers", type=int, default=8)
    options = parser.parse_args(arguments)
    sys.stdout.write(f"{build_model(options.folder, hidden=options.hidden, layers=options.layers)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
