from __future__ import annotations

import copy
import math
import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import InputError
from indexing.records import Hit
from retrieval.fusion import RRF_K, dbsf, fuse, rrf, side_weights, weighted

METHODS = ("rrf", "dbsf", "weighted")


def side(**scores: float) -> list[Hit]:
    """Hits in the order given, which is their ranking."""
    return [
        Hit(identity, score, rank, {"text": identity})
        for rank, (identity, score) in enumerate(scores.items(), 1)
    ]


@st.composite
def rankings(draw: st.DrawFn, least: int = 0) -> list[Hit]:
    """A ranking over ids a..h with few distinct scores, so that ties happen."""
    ids = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=least, max_size=8))
    scores = draw(st.lists(st.integers(-4, 12), min_size=len(ids), max_size=len(ids)))
    ordered = sorted(zip(ids, scores, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return side(**{identity: score / 4 for identity, score in ordered})


def ids(fused):
    return [point.id for point in fused]


def test_rrf_against_arithmetic_by_hand():
    fused = rrf([side(a=9, b=8, c=7), side(c=0.9, a=0.5, d=0.1)], [1.0, 0.5], k=10)
    expected = {"a": 1 / 11 + 0.5 / 12, "b": 1 / 12, "c": 1 / 13 + 0.5 / 11, "d": 0.5 / 13}
    assert {point.id: point.score for point in fused} == pytest.approx(expected)
    assert ids(fused) == ["a", "c", "b", "d"]


def test_rrf_constant_is_the_papers():
    assert RRF_K == 60
    assert rrf([side(a=3)], [1.0])[0].score == 1 / 61


def test_dbsf_against_arithmetic_by_hand():
    # Scores 1, 2, 3: mean 2, sample deviation 1, so 3 becomes (3 - (2 - 3)) / 6 = 4/6.
    fused = dbsf([side(a=3, b=2, c=1), side(b=7)], [1.0, 2.0])
    expected = {"a": 4 / 6, "b": 3 / 6 + 2 * 0.5, "c": 2 / 6}
    assert {point.id: point.score for point in fused} == pytest.approx(expected)


def test_weighted_against_arithmetic_by_hand():
    fused = weighted([side(a=0.9, b=0.7, c=0.5), side(c=20, d=10)], [0.7, 0.3])
    expected = {"a": 0.7, "b": 0.35, "c": 0.3, "d": 0.0}
    assert {point.id: point.score for point in fused} == pytest.approx(expected)


def test_a_floor_replaces_the_lowest_score_found():
    fused = weighted([side(a=0.9, b=0.6), side(c=20, d=5)], [1.0, 1.0], floors=[None, 0.0])
    assert {point.id: point.score for point in fused} == {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.25}


def test_a_score_below_the_floor_lowers_it():
    fused = weighted([side(a=3, b=0, c=-1)], [1.0], floors=[0.0])
    assert [point.score for point in fused] == [1.0, 0.25, 0.0]


@pytest.mark.parametrize(("method", "expected"), [("rrf", 1 / 61), ("dbsf", 0.5), ("weighted", 1.0)])
def test_a_single_hit_never_leaks_its_raw_score(method, expected):
    assert fuse(method, [side(a=23.4), []], [1.0, 1.0])[0].score == pytest.approx(expected)


@pytest.mark.parametrize(("method", "expected"), [("dbsf", 0.5), ("weighted", 1.0)])
def test_equal_scores_never_leak(method, expected):
    fused = fuse(method, [side(a=23.4, b=23.4, c=23.4)], [1.0])
    assert [point.score for point in fused] == [expected] * 3
    assert ids(fused) == ["a", "b", "c"]


def test_a_lone_sparse_hit_does_not_beat_the_dense_side_at_a_dense_weight_of_nine_tenths():
    fused = weighted([side(a=0.9, b=0.4), side(z=23.4)], [0.9, 0.1])
    assert ids(fused) == ["a", "z", "b"]


def test_ties_are_ordered_by_id():
    assert ids(rrf([side(b=1), side(a=1)], [1.0, 1.0])) == ["a", "b"]


def test_ranks_and_scores_of_each_side_are_reported():
    fused = {point.id: point for point in rrf([side(a=9, b=8), side(b=0.5)], [1.0, 1.0])}
    assert (fused["b"].ranks, fused["b"].scores) == ((2, 1), (8, 0.5))
    assert (fused["a"].ranks, fused["a"].scores) == ((1, None), (9, None))
    assert fused["a"].payload == {"text": "a"}


@pytest.mark.parametrize("method", METHODS)
def test_a_side_of_weight_zero_adds_no_points_but_is_reported(method):
    fused = fuse(method, [side(a=2, b=1), side(b=5, c=4)], [1.0, 0.0])
    assert ids(fused) == ["a", "b"]
    assert fused[1].ranks == (2, 1)


@pytest.mark.parametrize("method", METHODS)
def test_all_weights_zero_and_no_hits_give_nothing(method):
    assert not fuse(method, [side(a=1), side(b=1)], [0.0, 0.0])
    assert not fuse(method, [[], []], [1.0, 1.0])
    assert not fuse(method, [], [])


def test_a_second_occurrence_is_ignored():
    doubled = [*side(a=3, b=2), Hit("a", 1, 3, {}), Hit("c", 0, 4, {})]
    assert list(rrf([doubled], [1.0])) == rrf([side(a=3, b=2, c=0)], [1.0])[:2] + [
        point for point in rrf([doubled], [1.0]) if point.id == "c"
    ]
    assert rrf([doubled], [1.0])[2].ranks == (3,)


@pytest.mark.parametrize("method", METHODS)
@given(sides=st.lists(rankings(), min_size=2, max_size=4), data=st.data())
def test_the_order_of_the_sides_does_not_matter(method, sides, data):
    weights = data.draw(
        st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.5]), min_size=len(sides), max_size=len(sides))
    )
    order = data.draw(st.permutations(range(len(sides))))
    fused = fuse(method, sides, weights)
    permuted = fuse(method, [sides[i] for i in order], [weights[i] for i in order])
    assert [(p.id, p.score) for p in fused] == [(p.id, p.score) for p in permuted]
    assert [tuple(p.ranks[i] for i in order) for p in fused] == [p.ranks for p in permuted]


@pytest.mark.parametrize("method", METHODS)
@given(only=rankings(), weight=st.sampled_from([0.1, 1.0]))
def test_with_one_side_empty_the_other_keeps_its_order(method, only, weight):
    assert ids(fuse(method, [only, []], [weight, 1.0])) == [hit.id for hit in only]
    assert ids(fuse(method, [[], only], [1.0, weight])) == [hit.id for hit in only]


@pytest.mark.parametrize("method", METHODS)
@given(dense=rankings(), sparse=rankings())
def test_alpha_zero_and_one_are_the_pure_sides(method, dense, sparse):
    assert ids(fuse(method, [dense, sparse], [1.0, 0.0])) == [hit.id for hit in dense]
    assert ids(fuse(method, [dense, sparse], [0.0, 1.0])) == [hit.id for hit in sparse]


@pytest.mark.parametrize("method", METHODS)
@given(dense=rankings(), sparse=rankings())
def test_inputs_are_not_changed_and_points_appear_once(method, dense, sparse):
    before = copy.deepcopy((dense, sparse))
    fused = fuse(method, [dense, sparse], [1.0, 1.0])
    assert (dense, sparse) == before
    assert sorted(ids(fused)) == sorted({hit.id for hit in dense + sparse})
    assert list(fused) == sorted(fused, key=lambda point: (-point.score, point.id))


@given(dense=rankings(least=2), sparse=rankings(), place=st.integers(0, 6))
def test_rrf_rises_when_a_hit_moves_up(dense, sparse, place):
    place = min(place, len(dense) - 2)
    moved = [*dense]
    moved[place], moved[place + 1] = moved[place + 1], moved[place]
    climber = dense[place + 1].id

    def score(first):
        return next(point.score for point in rrf([first, sparse], [1.0, 1.0]) if point.id == climber)

    assert score(moved) > score(dense)


@given(dense=rankings(), sparse=rankings())
def test_rrf_is_scale_free(dense, sparse):
    scaled = [Hit(hit.id, hit.score * 100 + 7, hit.rank, hit.payload) for hit in dense]
    assert ids(rrf([dense, sparse], [1.0, 1.0])) == ids(rrf([scaled, sparse], [1.0, 1.0]))


@pytest.mark.parametrize("method", ["dbsf", "weighted"])
@given(dense=rankings(), sparse=rankings())
def test_normalised_scores_do_not_depend_on_a_sides_unit(method, dense, sparse):
    scaled = [Hit(hit.id, hit.score * 8 + 16, hit.rank, hit.payload) for hit in dense]
    plain = {p.id: p.score for p in fuse(method, [dense, sparse], [1.0, 1.0])}
    other = {p.id: p.score for p in fuse(method, [scaled, sparse], [1.0, 1.0])}
    assert other == pytest.approx(plain)


def test_a_credit_lets_a_point_claim_the_other_sides_weight():
    sides = [side(a=0.3), side(z=9, a=8)]
    plain = {p.id: p.score for p in rrf(sides, [0.8, 1.0])}
    credited = {p.id: p.score for p in rrf(sides, [0.8, 1.0], credits={"z": 0.5})}
    assert plain["z"] == pytest.approx(1 / 61)
    assert credited["z"] == pytest.approx((1 + 0.5 * 0.8) / 61)
    assert credited["a"] == plain["a"]


@pytest.mark.parametrize("method", METHODS)
@given(dense=rankings(), sparse=rankings())
def test_a_credit_changes_nothing_when_the_other_side_has_no_weight(method, dense, sparse):
    credits = {hit.id: 1.0 for hit in sparse}
    fused = fuse(method, [dense, sparse], [0.0, 1.0], credits=credits)
    assert list(fused) == list(fuse(method, [dense, sparse], [0.0, 1.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rrf", [[]], [1.0, 2.0]), "one weight each"),
        (("rrf", [[]], [-1.0]), "from 0 up"),
        (("dbsf", [[]], [math.nan]), "from 0 up"),
        (("weighted", [[]], [math.inf]), "from 0 up"),
        (("borda", [[]], [1.0]), "accepted: rrf, dbsf, weighted"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        fuse(*arguments)


def test_refusals_of_options():
    with pytest.raises(InputError, match="rrf_k"):
        rrf([[]], [1.0], k=0)
    with pytest.raises(InputError, match="floors"):
        weighted([[]], [1.0], floors=[0.0, 0.0])
    with pytest.raises(InputError, match="credit of 'a'"):
        rrf([side(a=1)], [1.0], credits={"a": 1.5})


@pytest.mark.parametrize(
    ("coverage", "dense_weight", "expected"),
    [
        (1.0, 0.5, (1.0, 1.0)),
        (0.0, 0.5, (0.0, 1.0)),
        (0.19, 0.9, (0.0, 1.0)),
        (0.2, 0.5, (0.2, 1.0)),
        (0.5, 0.5, (0.5, 1.0)),
        (1.0, 0.8, (1.0, 0.25)),
        (1.0, 0.0, (0.0, 1.0)),
        (1.0, 1.0, (1.0, 0.0)),
        (0.1, 1.0, (0.0, 1.0)),
    ],
)
def test_side_weights(coverage, dense_weight, expected):
    assert side_weights(coverage, dense_weight) == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_dense_side_never_gains_from_reading_less(low, high, dense_weight):
    low, high = sorted((low, high))
    assert side_weights(low, dense_weight)[0] <= side_weights(high, dense_weight)[0]
    assert max(side_weights(high, dense_weight)) > 0


@pytest.mark.parametrize("arguments", [(-0.1, 0.5), (1.1, 0.5), (1.0, 1.5), (math.nan, 0.5)])
def test_side_weights_refuse_what_is_no_share(arguments):
    with pytest.raises(InputError, match="share from 0 to 1"):
        side_weights(*arguments)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_qdrants_own_fusion(seed):
    """Random vectors through Qdrant's prefetch fusion and through ours, same constant."""
    from qdrant_client import QdrantClient, models

    source = random.Random(seed)
    client = QdrantClient(":memory:")
    space = models.VectorParams(size=6, distance=models.Distance.DOT)
    client.create_collection("c", vectors_config={"one": space, "two": space})

    def vector():
        return [source.gauss(0, 1) for _ in range(6)]

    points = [
        models.PointStruct(id=str(uuid.UUID(int=n)), vector={"one": vector(), "two": vector()})
        for n in range(40)
    ]
    client.upsert("c", points)
    queries = {name: vector() for name in ("one", "two")}
    sides = []
    for name, query in queries.items():
        found = client.query_points("c", query=query, using=name, limit=15).points
        sides.append([Hit(str(point.id), point.score, rank, {}) for rank, point in enumerate(found, 1)])
    prefetch = [models.Prefetch(query=query, using=name, limit=15) for name, query in queries.items()]
    k = source.choice([1, 20, 60])
    for query, ours in [
        (models.RrfQuery(rrf=models.Rrf(k=k + 1)), rrf(sides, [1.0, 1.0], k=k)),
        (models.FusionQuery(fusion=models.Fusion.DBSF), dbsf(sides, [1.0, 1.0])),
    ]:
        theirs = client.query_points("c", prefetch=prefetch, query=query, limit=40).points
        assert {str(p.id): p.score for p in theirs} == pytest.approx({p.id: p.score for p in ours}, abs=1e-6)
    client.close()
