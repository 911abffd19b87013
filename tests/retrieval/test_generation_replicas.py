"""Rendezvous hashing: stable, even, and only the lost replica's prefixes move."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from retrieval.generation.replicas import Replicas, by_preference

URLS = [f"http://replica-{number}:8000" for number in range(4)]


@given(st.text(), st.permutations(URLS))
def test_the_order_of_the_setting_changes_nothing(prefix: str, urls: list[str]) -> None:
    assert by_preference(prefix, urls) == by_preference(prefix, URLS)


@given(st.text(), st.sampled_from(URLS))
def test_without_a_replica_only_its_own_prefixes_move(prefix: str, gone: str) -> None:
    before = by_preference(prefix, URLS)
    after = by_preference(prefix, [url for url in URLS if url != gone])
    assert after == [url for url in before if url != gone]


def test_prefixes_spread_evenly() -> None:
    counts = Counter(by_preference(f"document {number}", URLS)[0] for number in range(4000))
    assert all(850 < counts[url] < 1150 for url in URLS)


def test_one_that_failed_rests_and_comes_back() -> None:
    now = [0.0]
    replicas = Replicas(URLS, rest_s=5, clock=lambda: now[0])
    first, second, *_ = replicas.order("p")
    replicas.failed(first)
    assert replicas.order("p")[0] == second
    assert replicas.order("p")[-1] == first
    now[0] = 5.0
    assert replicas.order("p")[0] == first
    replicas.failed(first)
    replicas.answered(first)
    assert replicas.order("p")[0] == first
