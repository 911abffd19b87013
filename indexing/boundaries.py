"""Whether a stop ends a sentence: English and Chinese punctuation rules.

Rules, not a model: they cost about a microsecond a stop, need no training
data, and the same text is cut the same way on every machine.  The abbreviation
lists follow the classes of Kiss and Strunk, "Unsupervised Multilingual Sentence
Boundary Detection" (2006): those that never end a sentence, those that announce
a number, and those that may end one, which the next word decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FULL = "。！？；｡؟۔।॥։።‼⁇⁈⁉"
_STOP = re.compile(
    # "!" may begin a Markdown image instead of ending a sentence
    r"(?P<stop>(?:[.?…．" + _FULL + r"]|!(?!\[[^\]\n]{0,300}\]\())++)"
    r"(?P<close>[\"'”’」』》〉)）\]】〕｝}»›*_`]{0,8}+(?:\[[0-9]{1,3}\]){0,6}+)"
    r"(?P<gap>\s*+)"
)
_OPENERS = "\"'“‘「『《〈(（[【〔｛{«‹*_`¿¡"
_CLOSERS_NEXT = "，、：,:;—”’」』》）)】…"
_QUOTES = "\"'”’」』»›"


def _words(lines: str) -> frozenset[str]:
    return frozenset(lines.split())


# "Rep. Smith", but "do one rep. Then": titles count only with a capital.
_TITLES = _words("""
    Dr Mr Mrs Ms Mx Prof Gen Col Lt Sgt Capt Cmdr Adm Gov Sen Rep Rev Hon Pres Messrs Mme Mlle St Ste Mt Ft
""")
_NEVER = _words("mr mrs dr prof e.g i.e eg ie cf vs viz approx ca resp esp incl excl")
_BEFORE_LABEL = _words("""
    fig figs eq eqs sec sect secs ch chap vol vols art ref refs tab tabs para app appx ex def thm prop
""")
_BEFORE_NUMBER = _words("no nos nr c p pp v n pt ver jan feb mar apr jun jul aug sep sept oct nov dec")
_MAY_END = _words("""
    inc ltd co corp llc plc bros jr sr ave blvd rd al etc ed eds est dept univ assn int intl op ser trans
    a.m p.m am pm ph.d m.d b.a m.a b.sc m.sc b.c a.d u.s u.k u.n e.u d.c u.s.a
""")
# Words that, capitalised, nearly always begin a sentence: they decide after
# an abbreviation that may end one, and after a lone initial ("Plan B. The").
_STARTERS = _words("""
    the this that these those there then thus therefore they their a an it its he she his her we our you
    your i in on at as by for from with without to of if when while where what who why how which however
    moreover furthermore although though because since after before during under over and but or nor so
    yet also some many most all both each every such no not another other is are was were do does did has
    have had can could may might must shall should will would let please see note here one two first
    second finally next later meanwhile instead indeed according based using given unlike like despite
""")
_INITIAL = re.compile(r"[A-Z]|[A-Za-z]\.(?:-?[A-Za-z]\.){0,6}-?[A-Za-z]")
_NUMBER = re.compile(r"[#(（\[]?[0-9]")
_LABEL = re.compile(r"[#(（\[]?(?:[0-9]|[IVXLC]{1,5}\b|[A-Z](?:[0-9]|\b))")
_WORD = re.compile(r"[A-Za-z]{2,20}(?!\w)|[A-Za-z](?![.\w])")  # "A." is an initial
_MARKER = re.compile(
    r"\s*(?:(?:note|item|section|chapter|part|article|table|figure|appendix|step|rule|question)\s)?"
    r"[(（\[]?(?:[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}|[A-Za-z]|[ivxIVX]{1,5})[.)）\]]*\s*",
    re.IGNORECASE,
)
_LONGEST_MARKER = 24


def sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the offsets in ``(start, end)`` at which a new sentence begins.

    The range is one paragraph, heading or list item.  Offsets ascend.
    """
    caseless = text[start:end].islower()
    piece = start
    quotes = 0
    counted = start
    for match in _STOP.finditer(text, start, end):
        after = match.end()
        if after >= end:
            return
        cut = after
        stop, close = match.group("stop"), match.group("close")
        if not match.group("gap"):
            if stop[-1] not in _FULL and (_is_cased(text[after]) or text[after].isdigit()):
                continue  # a decimal, a URL, a version
            if '"' in close:
                quotes += text.count('"', counted, match.end("stop"))
                counted = match.end("stop")
                if quotes % 2 == 0:  # nothing to close: the quote opens the next sentence
                    cut = match.start("close") + close.index('"')
                    close = close[: close.index('"')]
        if _ends(text, piece, match.start(), stop, close, match.group("gap"), cut, caseless):
            yield cut
            piece = cut


def _ends(
    text: str, piece: int, place: int, stop: str, close: str, gap: str, after: int, caseless: bool
) -> bool:
    following = text[after : after + 24]
    if following[0] in _CLOSERS_NEXT and not (following[0] in "—" and gap):
        return False
    if stop[-1] in _FULL:
        return True
    lead = following.lstrip(_OPENERS)
    first = lead[0] if lead else following[0]
    starts_low = first.islower() and not (len(lead) > 1 and lead[1].isupper())
    if "!" in stop or "?" in stop:
        if gap:
            return caseless or not starts_low  # "Help! magazine", '"Really?" he asked'
        return _is_cjk(first)
    if stop[-1] in "…．" or len(stop) > 1:
        return _ends_ellipsis(text, piece, place, stop, gap, first, starts_low)
    if not gap and not (place > piece and _is_cjk(first)):
        return False
    if starts_low and not caseless:
        return False
    if first in ".!?":
        return False
    return _ends_full_stop(text, piece, place, lead, first, close)


def _ends_ellipsis(
    text: str, piece: int, place: int, stop: str, gap: str, first: str, starts_low: bool
) -> bool:
    if stop == "．":  # full-width full stop: a decimal between digits
        return not first.isdigit() and place > piece and not text[place - 1].isdigit()
    if gap:
        return not starts_low
    # "我……我不知道": a stutter of a character or two is no sentence.
    return _is_cjk(first) and place - piece >= 4


def _ends_full_stop(text: str, piece: int, place: int, lead: str, first: str, close: str) -> bool:
    if place - piece <= _LONGEST_MARKER and _MARKER.fullmatch(text, piece, place):
        return False  # "1. Introduction", "Note 4. Taxes": the number belongs to what it counts
    token = _token_before(text, piece, place)
    lowered = token.lower()
    if lowered in _NEVER or token in _TITLES:
        return False
    if lowered in _BEFORE_LABEL:
        return not _LABEL.match(lead)
    if lowered in _BEFORE_NUMBER:
        return not _NUMBER.match(lead)
    word = _WORD.match(lead)
    starter = word is not None and word.group().lower() in _STARTERS
    if lowered in _MAY_END:
        if lowered == "etc":
            return True
        return starter or not (first.isalpha() or first.isdigit() or lead[:1] in "($")
    if _INITIAL.fullmatch(token) and not close:
        return starter or _is_cjk(first) or not first.isalnum()
    return True


def _token_before(text: str, piece: int, place: int) -> str:
    """The word right before a stop, without quotes and brackets around it."""
    words = text[max(piece, place - 24) : place].rsplit(None, 1)
    if not words:
        return ""
    token = words[-1].lstrip(_OPENERS + "-–—/")
    for index in range(len(token) - 1, -1, -1):
        if _is_cjk(token[index]):
            return token[index + 1 :]
    return token


def _is_cased(character: str) -> bool:
    return character.isalpha() and not _is_cjk(character)


def _is_cjk(character: str) -> bool:
    return "\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7a3" or character >= "\U00020000"
