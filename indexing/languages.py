"""Which writing systems a text uses, and how much of it a model can read.

The unit is the letter, weighed by how much it says: parallel English and
Chinese texts have about three Latin letters for one Han character (an English
word has 4.7 letters, a Chinese word 1.6 characters), so counting letters alone
would let one English term outvote the Chinese question around it.  For
"什么是 BM25 的 term frequency" the 4 Han characters weigh 12 and the 15 Latin
letters 15: 56 % Latin, close to 3 of 5.5 words.  Kana and Hangul carry about
as much as Han per character once written in words, and get the same weight.
Digits, punctuation and spaces belong to no script.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

LATIN = "Latin"
HAN = "Han"
HIRAGANA = "Hiragana"
KATAKANA = "Katakana"
HANGUL = "Hangul"
CYRILLIC = "Cyrillic"
GREEK = "Greek"
ARABIC = "Arabic"
OTHER = "Other"

_WEIGHT = {HAN: 3, HIRAGANA: 3, KATAKANA: 3, HANGUL: 3}

# Block ranges (inclusive) after Unicode's Blocks.txt and Scripts.txt; what in
# them is no letter is sorted out by str.isalpha.  The letter-like signs of
# Latin-1 (ª µ º) and the modifier letters (ʼ) count as Latin: they stand in
# English text and must not lower what a model is said to know of it.
_RANGES: tuple[tuple[int, int, str], ...] = (
    (0x0041, 0x024F, LATIN),
    (0x0250, 0x02FF, LATIN),
    (0x0370, 0x03FF, GREEK),
    (0x0400, 0x052F, CYRILLIC),
    (0x0600, 0x06FF, ARABIC),
    (0x0750, 0x077F, ARABIC),
    (0x0870, 0x08FF, ARABIC),
    (0x1100, 0x11FF, HANGUL),
    (0x1C80, 0x1C8F, CYRILLIC),
    (0x1D00, 0x1D25, LATIN),
    (0x1D26, 0x1D2A, GREEK),
    (0x1D2B, 0x1D2B, CYRILLIC),
    (0x1D2C, 0x1D65, LATIN),
    (0x1D66, 0x1D6A, GREEK),
    (0x1D6B, 0x1DBF, LATIN),
    (0x1E00, 0x1EFF, LATIN),
    (0x1F00, 0x1FFF, GREEK),
    (0x2090, 0x209C, LATIN),
    (0x2183, 0x2184, LATIN),
    (0x2C60, 0x2C7F, LATIN),
    (0x2DE0, 0x2DFF, CYRILLIC),
    (0x3005, 0x3007, HAN),
    (0x3041, 0x309F, HIRAGANA),
    (0x30A0, 0x30FF, KATAKANA),
    (0x3130, 0x318F, HANGUL),
    (0x31F0, 0x31FF, KATAKANA),
    (0x3400, 0x4DBF, HAN),
    (0x4E00, 0x9FFF, HAN),
    (0xA640, 0xA69F, CYRILLIC),
    (0xA720, 0xA7FF, LATIN),
    (0xA960, 0xA97F, HANGUL),
    (0xAB30, 0xAB64, LATIN),
    (0xAB65, 0xAB65, GREEK),
    (0xAB66, 0xAB6F, LATIN),
    (0xAC00, 0xD7FF, HANGUL),
    (0xF900, 0xFAFF, HAN),
    (0xFB00, 0xFB06, LATIN),
    (0xFB50, 0xFDFF, ARABIC),
    (0xFE70, 0xFEFF, ARABIC),
    (0xFF21, 0xFF5A, LATIN),
    (0xFF66, 0xFF9F, KATAKANA),
    (0xFFA0, 0xFFDC, HANGUL),
    (0x20000, 0x323AF, HAN),
)
_STARTS = [start for start, _, _ in _RANGES]


class _Scripts(dict[str, str | None]):
    """Character -> script, None for what is no letter; filled as characters are met."""

    def __missing__(self, character: str) -> str | None:
        script = script_of(character)
        self[character] = script
        return script


def script_of(character: str) -> str | None:
    """Return the script of one character, or None when it is not a letter.

    >>> script_of("字"), script_of("é"), script_of("7")
    ('Han', 'Latin', None)
    """
    code = ord(character)
    if code == 0x3007:  # 〇: a number to Unicode, a Han character in every text that has it
        return HAN
    if not character.isalpha():
        return None
    place = bisect_right(_STARTS, code) - 1
    if place >= 0 and code <= _RANGES[place][1]:
        return _RANGES[place][2]
    return OTHER


_SCRIPTS = _Scripts()


def script_shares(text: str) -> dict[str, float]:
    """Return the share (0 to 1) of each script among the text's letters.

    Shares sum to 1; a text without letters gives an empty mapping.

    >>> script_shares("BM25")
    {'Latin': 1.0}
    """
    if text.isascii():
        return {LATIN: 1.0} if _has_ascii_letter(text) else {}
    weights: dict[str, int] = {}
    for character, count in Counter(text).items():
        script = _SCRIPTS[character]
        if script is not None:
            weights[script] = weights.get(script, 0) + count * _WEIGHT.get(script, 1)
    total = sum(weights.values())
    return {script: weight / total for script, weight in weights.items()}


def coverage(text: str, scripts: frozenset[str] | None) -> float:
    """Return the share of the text's letters that are in the given scripts.

    1.0 when ``scripts`` is None (a model that knows every script) and when the
    text has no letters: "42" or "=>" is as readable to one model as to another.

    >>> coverage("什么是 BM25?", frozenset({"Latin"}))
    0.18181818181818182
    """
    if scripts is None:
        return 1.0
    shares = script_shares(text)
    if not shares:
        return 1.0
    return min(1.0, sum(share for script, share in shares.items() if script in scripts))


def _has_ascii_letter(text: str) -> bool:
    # lower() and upper() of an ASCII text differ exactly when it has a letter;
    # two C passes, where a loop over characters would be a hundred times slower.
    return text.lower() != text.upper()
