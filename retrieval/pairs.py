"""Token ids of (query, text) pairs, the query's tokenised once for all its texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexing.errors import EncoderError
from retrieval.reranker import QUERY_SHARE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Pairs that show where a model puts its special tokens: any one of them that
# leaves a token on both sides will do, and all of them must agree.
_PROBES = (("a", "b"), ("how much cash", "Net cash was 5.4 million."), ("现金 多少", "现金为五百四十万元。"))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Ids of each pair, special tokens included, and whether the pair was cut."""

    ids: list[list[int]]
    truncated: tuple[bool, ...]


class PairTokenizer:
    """Pairs as the tokenizer's own pair template makes them, at most ``max_tokens`` long.

    A tokenizer handles the two texts of a pair apart and joins their ids with
    special tokens around, so the query's ids can be made once and joined here.
    A tokenizer that does not join so is refused when it is loaded.  The object
    is never changed by a call, so threads may share it.

    Raises:
        EncoderError: the tokenizer's pairs are not its texts' ids with fixed ids around.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._limit = int(max_tokens * QUERY_SHARE)
        self._before, self._between, self._after = _template(tokenizer)
        self._special = len(self._before) + len(self._between) + len(self._after)

    def encode(self, query: str, texts: Sequence[str]) -> Pairs:
        """Return the pairs in the order of ``texts``; a text's end is cut to make the pair fit."""
        query_ids, cut = self._query(query)
        head = [*self._before, *query_ids, *self._between]
        room = max(0, self._max_tokens - self._special - len(query_ids))
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids, truncated = [], []
        for one in encoded:
            text_ids = one.ids
            truncated.append(cut or len(text_ids) > room)
            ids.append([*head, *text_ids[:room], *self._after])
        return Pairs(ids, tuple(truncated))

    def _query(self, query: str) -> tuple[list[int], bool]:
        """Return the query's ids, cut to its share of the budget, and whether that was needed.

        The text is cut and tokenised again, as FlagEmbedding does: the ids of a
        cut text need not be the first ids of the whole one.
        """
        encoding = self._tokenizer.encode(query, add_special_tokens=False)
        if len(encoding.ids) <= self._limit:
            return encoding.ids, False
        fitted = query[: encoding.offsets[self._limit - 1][1]]
        return self._tokenizer.encode(fitted, add_special_tokens=False).ids, True


def _template(tokenizer: Tokenizer) -> tuple[list[int], list[int], list[int]]:
    """Return the special ids before the query, between query and text, and behind the text."""
    found = None
    for query, text in _PROBES:
        try:
            pair = tokenizer.encode(query, text)
            first = tokenizer.encode(query, add_special_tokens=False).ids
            second = tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the package raises bare Exception
            raise EncoderError(f"the tokenizer cannot read plain text: {error}") from error
        sides = pair.sequence_ids
        if found is None and first and second and 0 in sides and 1 in sides:
            start, middle = sides.index(0), sides.index(1)
            found = (
                pair.ids[:start],
                pair.ids[start + len(first) : middle],
                pair.ids[middle + len(second) :],
            )
        if found is not None and [*found[0], *first, *found[1], *second, *found[2]] != pair.ids:
            raise EncoderError(
                "the tokenizer does not join a pair from its two texts; it cannot be used here"
            )
    if found is None:
        raise EncoderError("the tokenizer makes no tokens of plain text; it cannot be used here")
    return found
