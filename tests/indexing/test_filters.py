"""The filter's own form: what is read, what is refused, and how a key is spelt for the engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.collection.filters import Condition, Filter, alternatives, json_path, parse_filter
from indexing.collection.wire import filter_from_wire, filter_to_wire
from indexing.errors import FilterError


def test_no_filter() -> None:
    assert parse_filter(None) is None
    assert parse_filter({}) is None


@pytest.mark.parametrize(
    ("raw", "conditions"),
    [
        ({"section": "A > B"}, [Condition("section", any_of=("A > B",))]),
        ({"doc_id": ["a", "b"]}, [Condition("doc_id", any_of=("a", "b"))]),
        ({"page": {"gte": 3, "lt": 9}}, [Condition("page", bounds=(("gte", 3.0), ("lt", 9.0)))]),
        ({"section": {"prefix": "A"}}, [Condition("section", prefix="A")]),
        ({"year": {"not": 2019}}, [Condition("metadata.year", none_of=(2019,))]),
        ({"metadata.year": True}, [Condition("metadata.year", any_of=(True,))]),
        (
            {"year": {"gt": 1, "not": [5]}, "page": 2},
            [
                Condition("metadata.year", bounds=(("gt", 1.0),)),
                Condition("metadata.year", none_of=(5,)),
                Condition("page", any_of=(2,)),
            ],
        ),
    ],
)
def test_accepted_forms(raw: dict[str, object], conditions: list[Condition]) -> None:
    assert parse_filter(raw) == Filter(tuple(conditions))


@pytest.mark.parametrize(
    "raw",
    [
        {"tenant": "acme"},
        {"tenant.x": "acme"},
        {"": 1},
        {"metadata.": 1},
        {'a"b': 1},
        {"page": []},
        {"page": {}},
        {"page": None},
        {"page": [None]},
        {"page": {"near": 3}},
        {"page": {"gte": "3"}},
        {"page": {"gte": True}},
        {"page": {"gte": float("nan")}},
        {"page": {"gte": 10**400}},
        {"page": 2**63},
        {"page": float("inf")},
        {"section": {"prefix": ""}},
        {"section": {"prefix": 3}},
        {"section": "\ud800"},
        {"section": ["x"] * 1001},
    ],
)
def test_refused_forms(raw: dict[str, object]) -> None:
    with pytest.raises(FilterError):
        parse_filter(raw)


def test_paths_are_quoted_where_the_engine_needs_it() -> None:
    assert json_path("section") == "section"
    assert json_path("metadata.year") == "metadata.year"
    assert json_path("metadata.fiscal year") == 'metadata."fiscal year"'
    assert json_path("metadata.a.b[0]") == 'metadata."a.b[0]"'


def test_values_are_sorted_by_the_kind_of_match() -> None:
    kinds = alternatives("metadata.x", ("a", 1, 2.5, True, False))
    assert (kinds.strings, kinds.integers, kinds.numbers) == (("a",), (), (1.0, 2.5))
    assert kinds.booleans == (True, False)
    exact = alternatives("page", (1, 2.0, 2.5, True))
    assert (exact.integers, exact.numbers, exact.booleans) == ((1, 2), (), (True,))


scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-1e9, 1e9),
)


@given(
    st.dictionaries(
        st.sampled_from(["page", "section", "year", "fiscal kind", "metadata.draft"]),
        st.one_of(
            scalars,
            st.lists(scalars, min_size=1, max_size=4),
            st.builds(lambda value: {"not": value}, scalars),
            st.builds(lambda value: {"gte": value}, st.floats(-1e9, 1e9)),
            st.builds(lambda value: {"prefix": value}, st.text("ab", min_size=1)),
        ),
    )
)
def test_a_filter_crosses_the_wire_unchanged(raw: dict[str, object]) -> None:
    wanted = parse_filter(raw)
    assert repr(filter_from_wire(filter_to_wire(wanted))) == repr(wanted)
