from __future__ import annotations

import pytest

from indexing.languages import coverage
from indexing.records import Hit
from retrieval.credits import literal_credits
from retrieval.fusion import rrf, side_weights

LATIN = frozenset({"Latin"})


def reads_latin(text: str) -> float:
    return coverage(text, LATIN)


def credits(query: str, *texts: str) -> dict[str, float]:
    return literal_credits(query, {str(n): text for n, text in enumerate(texts)}, reads_latin, 0.5)


def test_the_credit_is_the_share_of_readable_words_by_length():
    assert credits("BM25 scoring 是什么", "BM25算法是一种排序函数。", "Scoring 与 bm25 的关系在此说明") == {
        "0": 4 / 11,
        "1": 1.0,
    }


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("BM25 是什么", "这是什么意思？"),  # only words that the dense side cannot read
        ("什么意思", "这是什么意思？"),  # no readable word in the query
        ("BM25", "BM25 is a ranking function."),  # has a dense vector
        ("art history", "某个party的故事真的很长很长"),  # part of a word
        ("art", "smart这个词的意思是聪明"),
        ("!!!", "这是什么意思？"),
    ],
)
def test_no_credit(query, text):
    assert credits(query, text) == {}


def test_characters_of_patterns_are_taken_literally():
    assert credits("C++ a.b (x", "使用C++和a.b与x的例子在这里") == {"0": 1.0}


def test_a_literal_answer_in_an_unreadable_text_is_not_buried_by_readable_noise():
    """Latin query, Chinese answer: the dense side can only return English noise."""
    noise = [Hit(f"en{n}", 0.3 - n / 100, n + 1) for n in range(5)]
    sparse = [Hit("zh", 9.0, 1), noise[4]]
    texts = {"zh": "Windows 95 发布于一九九五年八月二十四日，由微软公司推出。", "en4": "English noise 4"}
    sides, weights = [noise, sparse], side_weights(reads_latin("Windows 95"))
    assert rrf(sides, weights)[0].id == "en4"
    found = literal_credits("Windows 95", texts, reads_latin, 0.5)
    assert rrf(sides, weights, credits=found)[0].id == "zh"
