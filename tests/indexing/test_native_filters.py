"""Filters in Qdrant's JSON on the embedded engine: whatever they say, the tenant holds and nothing breaks."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.collection import Filter, open_collection
from indexing.collection.native_filters import native_filter
from indexing.errors import FilterError
from tests.fakes.points import SPEC, point, point_id, settings_in

KEYS = ["text", "ordinal", "page", "metadata", "metadata[]", "metadata.year", "tenant", "a.b", "doc_id"]
WORDS = ["", "\0", "é" * 50, "sentence", "sentence 1", "x" * 5000, "\u202e", " "]
NUMBERS = [0, -1, 3, 2**63 - 1, -(2**63), True, False]
TEXTUAL = ["text", "text_any", "phrase", "prefix", "substring"]


def condition(draw: random.Random, depth: int) -> dict[str, Any]:
    key = draw.choice(KEYS)
    kinds: list[dict[str, Any]] = [
        {"key": key, "match": {"value": draw.choice([*WORDS, *NUMBERS])}},
        {"key": key, "match": {draw.choice(TEXTUAL): draw.choice(WORDS)}},
        {"key": key, "match": {draw.choice(["any", "except"]): draw.sample(WORDS, 3)}},
        {"key": key, "match": {draw.choice(["any", "except"]): [1, 2, 3]}},
        {"key": key, "range": {draw.choice(["gte", "gt", "lte", "lt"]): draw.choice([0.0, 3.5, 1e308])}},
        {"key": key, "values_count": {"gte": draw.randrange(3)}},
        {"key": key, draw.choice(["is_empty", "is_null"]): draw.random() < 0.5},
        {draw.choice(["is_empty", "is_null"]): {"key": key}},
        {"has_vector": draw.choice(["dense", "sparse", "none", ""])},
        {"has_id": [draw.choice([point_id(3), point_id(35), "x", 4])]},
    ]
    return random_filter(draw, depth + 1) if draw.random() < 0.15 else draw.choice(kinds)


def random_filter(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    if depth > 3:
        return {}
    made: dict[str, Any] = {
        clause: [condition(draw, depth) for _ in range(draw.randrange(4))]
        for clause in ("must", "should", "must_not")
        if draw.random() < 0.4
    }
    if draw.random() < 0.1:
        conditions = [condition(draw, depth) for _ in range(3)]
        made["min_should"] = {"conditions": conditions, "min_count": draw.randrange(5)}
    return made


def test_no_filter_reaches_another_tenant(tmp_path: Path) -> None:
    seed = 20_260
    print(f"seed {seed}")  # noqa: T201
    draw = random.Random(seed)

    async def ask() -> list[int]:
        collection = await open_collection(settings_in(tmp_path), SPEC)
        rng = np.random.default_rng(seed)
        await collection.upsert([point(number, rng, dense=number % 11 != 0) for number in range(30)])
        await collection.upsert([point(number, rng, tenant="other") for number in range(30, 50)])
        counts = []
        for _ in range(400):
            wanted = Filter((), native=json.dumps(random_filter(draw)))
            rows = [
                row
                async for batch in collection.scroll(tenant="default", filter=wanted, batch=50)
                for row in batch
            ]
            assert {row.payload["tenant"] for row in rows} <= {"default"}, wanted
            assert len(rows) == await collection.count(tenant="default", filter=wanted)
            counts.append(len(rows))
        await collection.close()
        return counts

    counts = asyncio.run(ask())
    assert min(counts) == 0
    assert max(counts) == 30
    assert len(set(counts)) > 10  # the filters do select


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"nonsense": []}, "a filter is an object with must"),
        ({"must": ["x"]}, "a condition is an object"),
        ({"must": [{"geo": 1}]}, "geo is not accepted; accepted: key with match"),
        ({"must": [{"key": "a", "geo_radius": {}}]}, "geo_radius is asked of it"),
        ({"must": [{"key": "a", "match": {"value": 1, "any": []}}]}, "match takes one of"),
        ({"must": [{"key": "a", "match": {"like": "b"}}]}, "match 'like' is not accepted"),
        ({"must": [{"key": "a", "match": {"value": 2**70}}]}, "the engine does not take this filter"),
        ({"must": [{"key": "a", "range": {"gte": "x"}}]}, "a bound is a finite number"),
        ({"min_should": {"conditions": []}}, "a count is a whole number"),
        ({"must": [{"key": "a", "is_null": True}] * 1001}, "more than 1000 conditions"),
    ],
)
def test_what_a_filter_cannot_say(body: dict[str, Any], said: str) -> None:
    with pytest.raises(FilterError, match=said):
        native_filter(json.dumps(body))


def test_a_filter_is_not_nested_for_ever() -> None:
    body: dict[str, Any] = {}
    for _ in range(9):
        body = {"must": [body]}
    with pytest.raises(FilterError, match="more than 8 levels"):
        native_filter(json.dumps(body))
