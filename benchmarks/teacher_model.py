"""What the fake teacher thinks: relevance by shared words, and the ways in which it can be wrong.

Deterministic, no weights: the share of the query's words that the passage
has, as a log-odds, with a jitter from a hash so that no two passages tie by
accident.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from typing import Literal

Fault = Literal[
    "none",
    "swapped",
    "constant",
    "missing-token",
    "floored",
    "order-dependent",
    "nan",
    "length",
    "query-blind",
    "truncated",
    "saturated",
    "probabilities",
    "short-answer",
    "split-label",
    "gibberish",
    "input-order",
    "http-500",
    "http-429",
    "http-401",
    "timeout",
    "malformed-json",
]

# Of the golden queries, those that say nothing about the topic.
_STOP = frozenset({"a", "an", "the", "of", "for", "to", "in", "is", "are", "be", "can", "does"})
_ASKING = frozenset({"what", "when", "which", "who", "why", "how", "while"})
_TRUNCATED_WORDS = 40
_FLOOR = -10.0


def terms(text: str) -> frozenset[str]:
    """Words without their plural s, and pairs of neighbouring Chinese characters."""
    words = {
        word.rstrip("s") for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _STOP | _ASKING
    }
    runs = re.findall(r"[\u3400-\u9fff]+", text)
    return frozenset(words | {run[i : i + 2] for run in runs for i in range(max(len(run) - 1, 1))})


def log_odds(query: str, passage: str) -> float:
    """Return the log-odds of relevance, about -5 to 7."""
    wanted = terms(query)
    share = len(wanted & terms(passage)) / max(len(wanted), 1)
    return 12.0 * share - 5.0 + _jitter(f"{query}\n{passage}")


def judged(fault: Fault, query: str, passages: Sequence[str]) -> list[float]:
    """Return the log-odds of ``passages`` as a teacher with ``fault`` sees them."""
    if fault == "truncated":
        passages = [_first_words(text, _TRUNCATED_WORDS) for text in passages]
    if fault == "length":
        return [len(text) / 40.0 - 3.0 for text in passages]
    if fault == "query-blind":
        return [30.0 * _jitter(text) for text in passages]
    if fault == "constant":
        return [0.25 for _ in passages]
    values = [log_odds(query, text) for text in passages]
    if fault == "swapped":
        return [-value for value in values]
    if fault == "floored":
        return [_FLOOR if value < 0.0 else value for value in values]
    if fault == "order-dependent":
        return [value + 1.5 * place for place, value in enumerate(values)]
    if fault == "saturated":
        return [math.copysign(800.0, value) for value in values]
    return values


def _jitter(text: str) -> float:
    """-0.1 to 0.1, from the text alone."""
    return (zlib.crc32(text.encode()) % 20_001) / 100_000.0 - 0.1


def _first_words(text: str, count: int) -> str:
    words = re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+\s*", text)
    return "".join(words[:count])
