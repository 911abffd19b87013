"""How many tokens of each prompt a prefix cache would serve: the block rule, without a server.

A cache of vLLM serves whole blocks from the first token on, never the last
token of a prompt.  The real run's counts are held against these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.generation.protocol import Message

CPU_BLOCK = 128
GPU_BLOCK = 16


class BlockCache:
    """A cache without a limit for one salt; ``add`` returns ``(tokens, of them cached)``."""

    def __init__(self, tokenizer: Any, block: int) -> None:
        self._tokenizer = tokenizer
        self._block = block
        self._known: set[bytes] = set()

    def add(self, messages: Sequence[Message]) -> tuple[int, int]:
        ids = self._tokenizer.encode(_templated(messages), add_special_tokens=False).ids
        digest = hashlib.blake2b(digest_size=16)
        cached, unbroken = 0, True
        for start in range(0, len(ids) - len(ids) % self._block, self._block):
            digest.update(repr(ids[start : start + self._block]).encode())
            key = digest.digest()
            unbroken = unbroken and key in self._known and start + self._block < len(ids)
            cached += self._block if unbroken else 0
            self._known.add(key)
        return len(ids), cached


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _templated(messages: Sequence[Message]) -> str:
    """Return the text that Qwen's chat template makes of plain messages."""
    turns = "".join(f"<|im_start|>{one.role}\n{one.content}<|im_end|>\n" for one in messages)
    return f"{turns}<|im_start|>assistant\n"
