"""Bytes to text, by evidence: UTF-8, UTF-16/32 with a mark, GB18030, Latin-1, others.

A wrong guess is worse than a refusal: what no rule recognises is a
:class:`~indexing.errors.DamagedFileError` that says how to save the file.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections import Counter

from indexing.errors import DamagedFileError
from indexing.readers.builder import clean

logger = logging.getLogger(__name__)

# UTF-32 first: its mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# WHATWG: what pages call "gb2312" or "iso-8859-1" is the superset.
_ALIASES = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
}
# The hundred most frequent characters of written Chinese cover about 40% of any text.
_FREQUENT_HAN = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行"
    "所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机"
)
_GB_PUNCTUATION = frozenset("、。·ˉˇ¨〃々—～‖…‘’“”〔〕〈〉《》「」『』〖〗【】！（），：；？％＋－　")
_WESTERN = frozenset(
    "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŸœŒ‘’“”–—…•€£©®™°§¿¡«»‹›·\xa0½¼¾²³±×ºªµ†´"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_ASCII = bytes(range(0x80))
_SPACED_HAN = re.compile("[\u4e00-\u9fff] (?=[\u4e00-\u9fff])")
_SAVE = "save it as UTF-8"


def decode(data: bytes, name: str, *, declared: str | None = None) -> str:
    """Return the text of a file, newlines as ``\\n``, its byte-order mark removed.

    Order: a byte-order mark, strict UTF-8, the ``declared`` encoding (of an
    HTML page or a mail part), GB18030, Windows Latin-1, and what
    charset-normalizer is sure of.

    Args:
        data: the whole file; a part could end inside a character.
        name: for messages.
        declared: what the document says of itself.

    Raises:
        DamagedFileError: binary content, or an encoding that stays unknown.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return clean(_strict(data[len(mark) :], encoding, name))
    if b"\x00" in data:
        raise DamagedFileError(
            f"{name} holds NUL bytes, so it is not text (UTF-16 needs a byte-order mark); {_SAVE}"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = _legacy(data, name, declared, error)
    if sum(1 for _ in _CONTROL.finditer(text)) > max(2, len(text) // 100):
        raise DamagedFileError(f"{name} holds too many control characters to be text")
    return clean(text)


def _strict(data: bytes, encoding: str, name: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{name} begins with the mark of {encoding} and is not: {error}") from error


def _legacy(data: bytes, name: str, declared: str | None, error: UnicodeDecodeError) -> str:
    if declared is not None and (text := _declared(data, declared)) is not None:
        return text
    if _mostly_utf8(data):
        raise DamagedFileError(
            f"{name} is UTF-8 with broken bytes, the first at offset {error.start}; {_SAVE} again"
        ) from error
    for encoding, judge in (("gb18030", _is_chinese), ("cp1252", _is_western)):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if judge(text):
            logger.info("%s read as %s", name, encoding)
            return text
    return _by_statistics(data, name, error)


def _declared(data: bytes, declared: str) -> str | None:
    try:
        encoding = codecs.lookup(declared.strip()).name
        text = data.decode(_ALIASES.get(encoding, encoding))
    except (LookupError, UnicodeError, ValueError):
        return None
    return None if "\x00" in text else text


def _mostly_utf8(data: bytes) -> bool:
    """Whether nearly all bytes past ASCII are whole UTF-8 characters: damaged, not another encoding."""
    high = len(data.translate(None, _ASCII))
    kept = len(data.decode("utf-8", errors="ignore").encode().translate(None, _ASCII))
    return kept >= 0.9 * high and kept >= 6


def _is_chinese(text: str) -> bool:
    """Whether a GB18030 decoding reads as Chinese.

    Latin-1 words decode to rare characters outside GB2312's everyday half;
    Korean and Japanese bytes decode to everyday ones that no Chinese text
    would use in such proportions.
    """
    counts = {
        char: count for char, count in Counter(text).items() if char > "\x7f"
    }  # few, however long the text
    foreign = sum(counts.values())
    han = {char: count for char, count in counts.items() if "\u4e00" <= char <= "\u9fff"}
    total = sum(han.values())
    everyday = sum(count for char, count in han.items() if _is_everyday(char))
    signs = sum(
        count for char, count in counts.items() if char in _GB_PUNCTUATION or "\uff01" <= char <= "\uff5e"
    )
    if not han or everyday + signs < 0.85 * foreign:
        return False
    spaced = len(_SPACED_HAN.findall(text))  # Korean has a space every third character, Chinese none
    if total < 30 and spaced <= total / 8:
        return everyday >= 0.85 * total
    return sum(count for char, count in han.items() if char in _FREQUENT_HAN) >= 0.08 * total


def _is_everyday(char: str) -> bool:
    """Whether a character is in GB2312's first level (rows 16 to 55, the 3,755 frequent ones)."""
    try:
        lead, trail = char.encode("gb2312")
    except (UnicodeEncodeError, ValueError):
        return False
    return 0xB0 <= lead <= 0xD7 and trail >= 0xA1


def _is_western(text: str) -> bool:
    """Whether accents are those of western Europe and sit among plain letters."""
    counts = Counter(text)
    foreign = {char: count for char, count in counts.items() if char > "\x7f"}
    letters = sum(count for char, count in counts.items() if char.isalpha())
    accents = sum(count for char, count in foreign.items() if char.isalpha())
    return all(char in _WESTERN for char in foreign) and accents <= 0.35 * letters


def _by_statistics(data: bytes, name: str, error: UnicodeDecodeError) -> str:
    from charset_normalizer import from_bytes  # 30 ms: only where it is needed

    best = from_bytes(data[: 1 << 20]).best()
    text = None
    if best is not None and best.coherence >= 0.3:
        try:
            text = data.decode(best.encoding)
        except UnicodeDecodeError:
            text = None
    if best is None or text is None or _CONTROL.search(text):
        raise DamagedFileError(f"{name} is in an encoding that could not be told; {_SAVE}") from error
    logger.info("%s read as %s, by statistics", name, best.encoding)
    return text
