"""The poisoning benchmark's parts: what is injected, who publishes what, and the shares."""

from __future__ import annotations

from benchmarks.poisoning import PLACES, Row, joined_publishers, poison, shares, spread_publishers, table

QUERY = "how deep is the harbour of Overmouth?"


def test_every_passage_is_another_and_the_same_on_every_run() -> None:
    for attack in ("copied", "stuffed"):
        made = [poison(QUERY, attack, number, 20) for number in range(20)]  # type: ignore[arg-type]
        assert len(set(made)) == 20
        assert made == [poison(QUERY, attack, number, 20) for number in range(20)]  # type: ignore[arg-type]
        assert made != [poison(QUERY, attack, number, 21) for number in range(20)]  # type: ignore[arg-type]
        assert all(set(QUERY.split()) <= set(text.replace(".", " ").split()) for text in made)
    assert poison(QUERY, "copied", 0, 20).startswith(QUERY)


def test_publishers_are_many_or_one_for_each_question() -> None:
    texts = {f"d{number}": "x" for number in range(100)}
    assert 15 <= len(set(spread_publishers(texts).values())) <= 20
    joined = joined_publishers(texts, {"q1": {"d1": 1, "d2": 2}, "q2": {"d2": 1, "d3": 3}, "q3": {"d9": 1}})
    assert joined["d1"] == joined["d2"] == joined["d3"] != joined["d9"]
    assert len(set(joined.values())) == 98


def test_the_shares_are_counted_over_questions_and_places() -> None:
    held = [[True] * PLACES, [True, False, True, False, True], [True, False], []]
    row = shares("copied", 5, 1, 0, held)
    assert (row.places, row.any, row.most) == (9 / 20, 3 / 4, 2 / 4)


def test_the_table_compares_each_cap_with_none() -> None:
    row = Row("copied", 5, 1, 2, places=0.4, any=1.0, most=0.0)
    printed = table([row], {"spread": {0: [1.0, 0.5], 2: [1.0, 0.25]}}, 20)
    assert "| copied | 5 | 1 | 2 | 40% | 100% | 0% |" in printed
    assert "| spread | none | 0.7500 | | |" in printed
    assert "| spread | 2 | 0.6250 | -0.1250 | 1.000 |" in printed
