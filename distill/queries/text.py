"""When two queries are the same question, and what a query is called."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_WORDS = re.compile(r"\w+")
# Scripts written without spaces: a character is a word.
_UNSPACED = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


def normal(text: str) -> str:
    """Return a text without what does not make it another question: case, width, punctuation, spaces.

    >>> normal("What's  BM25?") == normal("what s ｂｍ25")
    True
    """
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))


def words(text: str) -> list[str]:
    """Return the words of a normalised text; a Chinese or Japanese character is one.

    >>> words("打开 File!")
    ['打', '开', 'file']
    """
    return _UNSPACED.findall(normal(text))


def query_id(text: str) -> str:
    """Return an id made from the normalised text: the same question gets the same id everywhere."""
    return "q-" + hashlib.sha256(normal(text).encode()).hexdigest()[:16]
