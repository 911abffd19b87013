"""Tokenised texts to padded batches, sorted by length under a token budget.

Most of a batch in input order is padding; sorted, 30 windows are a third of
the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from indexing.encoders.dense import pack
from indexing.encoders.runtime import IntArray

if TYPE_CHECKING:
    from tokenizers import Encoding


def batches(encodings: Sequence[Encoding], budget: int) -> Iterator[tuple[list[int], IntArray, IntArray]]:
    """Yield ``(rows, input_ids, attention_mask)``; the arrays are ``(len(rows), longest)``.

    Every row comes exactly once; a batch has at most ``budget`` tokens with
    its padding, except that a longer row comes alone.
    """
    for rows in pack([len(one.ids) for one in encodings], budget):
        yield (rows, *padded([encodings[row].ids for row in rows]))


def padded(ids: Sequence[Sequence[int]]) -> tuple[IntArray, IntArray]:
    """Return ``(input_ids, attention_mask)``, both ``(len(ids), longest)``, zeros behind each row."""
    width = max(len(row) for row in ids)
    input_ids = np.zeros((len(ids), width), dtype=np.int64)
    mask = np.zeros((len(ids), width), dtype=np.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return input_ids, mask
