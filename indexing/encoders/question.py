"""The words that make a text a question, which its sparse query leaves out.

"What does BM25 stand for" shares "what" and "does" with other people's
questions, not with the sentence that answers it, and in a small collection such
words are rare enough to count for much.  Only queries lose them: documents keep
every term, so nothing is indexed anew, and a query of such words alone keeps
them too.  ``docs/design.md`` has what that brings.

English: the interrogatives and the forms of "do" and "be", with their
contractions, unless they are written in capitals (WHO is not who).  Auxiliaries
that are also names of things (can, may, will, might, must) stay.  Chinese: the
interrogatives of two characters or more, and the particles that end a question;
a single character is too often part of another word.
"""

from __future__ import annotations

import re

from indexing.encoders.analysis import STOP_WORDS, words_of

_APOSTROPHE = "['\u2019]"
_ASKING = "what which who whom whose when where why how"
_VERBS = "do does did is are was were be been being"


def _either_case(words: str) -> str:
    """The words in lower case or with a capital first letter, as alternatives."""
    return "|".join(f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in words.split())


_ENGLISH = re.compile(
    rf"(?<!\w)(?:(?:{_either_case(_ASKING)})(?:{_APOSTROPHE}(?:s|re|d|ll|ve))?"
    rf"|(?:{_either_case(_VERBS)})(?:n{_APOSTROPHE}t)?)(?!\w)"
)

_CHINESE_WORDS = """
什么时候 什么样 什么 甚么 为什么 怎么办 怎么样 怎么 怎样 如何 为何 哪些 哪个 哪里 哪儿 多少 多久 是否 请问
什麼時候 什麼樣 什麼 甚麼 為什麼 怎麼辦 怎麼樣 怎麼 怎樣 為何 哪個 哪裡 哪兒 請問
"""
_CHINESE = re.compile(
    "|".join(sorted(_CHINESE_WORDS.split(), key=len, reverse=True))
    + "|(?<!任)何[时地种時種]|(?:[吗呢嗎])(?=\\W*$)"
)


def without_question_words(text: str) -> str:
    """Return the text with a space for every word that asks; the text itself if only stop words are left.

    >>> without_question_words("What does BM25 stand for?").split()
    ['BM25', 'stand', 'for?']
    >>> without_question_words("什么是倒排索引？").split()
    ['是倒排索引？']
    >>> without_question_words("What is that?")
    'What is that?'
    """
    stated = _ENGLISH.sub(" ", text)
    if not stated.isascii():
        stated = _CHINESE.sub(" ", stated)
    return stated if any(word not in STOP_WORDS for word in words_of(stated)) else text
