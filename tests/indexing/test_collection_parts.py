"""The collection's small parts: validation, frames, the journal, the pointer, copies."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.collection import wire
from indexing.collection.generations import Generations, copy_tree
from indexing.collection.journal import Journal
from indexing.collection.layout import EngineParameters, Layout, read_description, write_description
from indexing.collection.protocol import CollectionSpec, check_spec
from indexing.collection.server import open_server, shown_address
from indexing.collection.validation import check_points
from indexing.errors import (
    CapacityError,
    CollectionError,
    CollectionUnavailableError,
    DamagedShardError,
    DeadlineError,
    FingerprintMismatchError,
    VectorError,
    WinnowError,
    WireError,
)
from indexing.identity import key_of_id
from indexing.records import Embedding, Hit, Point, SideHits, SparseVector
from indexing.settings import CollectionSettings
from tests.fakes.points import DIMENSIONS, SPEC, point, point_id

GOOD = point(1, np.random.default_rng(1))


def with_dense(values: object) -> Point:
    return replace(GOOD, embedding=replace(GOOD.embedding, dense=values))


def with_sparse(indices: tuple[object, ...], values: tuple[object, ...]) -> Point:
    return replace(GOOD, embedding=replace(GOOD.embedding, sparse=SparseVector(indices, values)))


def with_payload(**fields: object) -> Point:
    return replace(GOOD, payload=dict(GOOD.payload) | fields)


def test_good_points_pass() -> None:
    check_points(
        [
            GOOD,
            with_dense(None),
            with_sparse((), ()),
            with_sparse((0, 2**32 - 1), (0.0, -1)),
            with_payload(metadata={"deep": [1, None, {"a": 0.5}], "汉": "字"}),
        ],
        SPEC,
    )


BAD_POINTS = {
    "dense float64": with_dense(np.ones(DIMENSIONS)),
    "dense list": with_dense([1.0] * DIMENSIONS),
    "dense short": with_dense(np.ones(DIMENSIONS - 1, dtype=np.float32)),
    "dense matrix": with_dense(np.ones((1, DIMENSIONS), dtype=np.float32)),
    "dense zero": with_dense(np.zeros(DIMENSIONS, dtype=np.float32)),
    "dense nan": with_dense(np.full(DIMENSIONS, np.nan, dtype=np.float32)),
    "dense infinite": with_dense(np.full(DIMENSIONS, np.inf, dtype=np.float32)),
    "sparse lengths": with_sparse((1, 2), (1.0,)),
    "sparse unsorted": with_sparse((2, 1), (1.0, 1.0)),
    "sparse twice": with_sparse((1, 1), (1.0, 1.0)),
    "sparse negative": with_sparse((-1,), (1.0,)),
    "sparse too large": with_sparse((2**32,), (1.0,)),
    "sparse string": with_sparse(("1",), (1.0,)),
    "sparse bool": with_sparse((True,), (1.0,)),
    "sparse nan": with_sparse((1,), (float("nan"),)),
    "sparse overflow": with_sparse((1,), (1e39,)),
    "sparse text value": with_sparse((1,), ("1",)),
    "id number": replace(GOOD, id=7),
    "id word": replace(GOOD, id="seven"),
    "id upper case": replace(GOOD, id=GOOD.id.upper()),
    "no tenant": replace(GOOD, payload={"doc_id": "a"}),
    "empty doc_id": with_payload(doc_id=""),
    "payload set": with_payload(metadata={"a": {1}}),
    "payload nan": with_payload(metadata={"a": float("nan")}),
    "payload key": with_payload(metadata={1: "a"}),
    "payload integer": with_payload(page=2**70),
    "payload surrogate": with_payload(text="\ud800"),
}


@pytest.mark.parametrize("name", BAD_POINTS)
def test_bad_points_are_refused(name: str) -> None:
    with pytest.raises(VectorError):
        check_points([GOOD, BAD_POINTS[name]], SPEC)


# ── frames ────────────────────────────────────────────────────────────────


def read(data: bytes) -> object:
    return next(iter(wire.Frames().feed(data)), None)


def test_frames_come_back() -> None:
    assert read(wire.frame([1, "search", [None, 2.5, b"\0", {"a": "字"}]])) == [
        1,
        "search",
        [None, 2.5, b"\0", {"a": "字"}],
    ]
    assert read(b"") is None


def test_foreign_cut_and_oversized_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    good = wire.frame([1, 2, 3])
    with pytest.raises(WireError, match="does not speak"):
        read(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(WireError, match="protocol 9"):
        read(good[:2] + b"\t\0" + good[4:])
    assert read(good[:-1]) is None
    assert read(good[:3]) is None
    with pytest.raises(WireError, match="not valid"):
        read(good[:4] + b"\1\0\0\0" + b"\xc1")
    monkeypatch.setattr(wire, "MAX_FRAME", 100)
    with pytest.raises(WireError, match="larger"):
        wire.frame("x" * 200)
    with pytest.raises(WireError, match="larger"):
        read(good[:4] + b"\xff\0\0\0")
    with pytest.raises(VectorError):
        wire.frame({"a": object()})


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 60))
def test_frames_come_back_however_they_are_cut(bodies: list[bytes], step: int) -> None:
    sent = b"".join(wire.frame(body) for body in bodies)
    frames = wire.Frames()
    found = [body for at in range(0, len(sent), step) for body in frames.feed(sent[at : at + step])]
    assert found == bodies
    assert not frames.partial
    list(frames.feed(wire.frame(1)[:-1]))
    assert frames.partial


floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.dictionaries(st.integers(0, 2**32 - 1), floats32),
    st.one_of(st.none(), st.lists(floats32, min_size=3, max_size=3)),
)
def test_vectors_come_back_bit_for_bit(terms: dict[int, float], dense: list[float] | None) -> None:
    sparse = SparseVector(tuple(sorted(terms)), tuple(terms[key] for key in sorted(terms)))
    sent = Point(point_id(1), Embedding(None if dense is None else np.array(dense, "f4"), sparse), {"a": 1})
    got = wire.point_from_wire(wire.unpack(wire.pack(wire.point_to_wire(sent))))
    assert (got.id, got.payload, got.embedding.sparse) == (sent.id, sent.payload, sparse)
    if dense is None:
        assert got.embedding.dense is None
    else:
        assert got.embedding.dense is not None
        assert got.embedding.dense.tolist() == dense


def over_the_wire(sides: wire.Sides) -> SideHits:
    return wire.sides_from_wire(wire.unpack(wire.pack(wire.sides_to_wire(sides))))


def test_hits_come_back_ranked() -> None:
    keys = [key_of_id(point_id(number)) for number in (1, 2)]
    dense, none = wire.Side(keys, [0.5, 0.25], [{"x": 1}, {}]), wire.Side([], [], None)
    found = over_the_wire(wire.Sides(dense, none, 1.5, None))
    assert list(found.dense) == [Hit(point_id(1), 0.5, 1, {"x": 1}), Hit(point_id(2), 0.25, 2, {})]
    assert (len(found.sparse), found.engine_ms, found.without_dense) == (0, 1.5, None)


def test_hits_without_payload_have_an_empty_one() -> None:
    key = key_of_id(point_id(7))
    found = over_the_wire(wire.Sides(wire.Side([], [], None), wire.Side([key], [0.25], None), 1.5, [key]))
    assert found.without_dense == {point_id(7)}
    (hit,) = found.sparse
    assert hit == Hit(point_id(7), 0.25, 1)
    assert hit.payload == {}


def subclasses(kind: type[WinnowError]) -> set[type[WinnowError]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_every_collection_error_keeps_its_class_across_the_wire() -> None:
    for kind in subclasses(CollectionError) | {VectorError, CapacityError}:
        if kind.__module__ != "indexing.errors":
            continue
        got = wire.error_from_wire(wire.error_to_wire(kind("why")))
        assert type(got) is kind
        assert str(got) == "why"
    # One the table does not name becomes its nearest base.
    assert type(wire.error_from_wire(wire.error_to_wire(DeadlineError("late")))) is CapacityError


# ── files ─────────────────────────────────────────────────────────────────


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.none()), max_size=60))
def test_the_journal_is_a_queue_in_memory_and_past_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list
) -> None:
    """None takes an entry; the bound of 64 bytes makes most of them go through the file."""
    path = tmp_path_factory.mktemp("journal") / "spill"
    journal, model = Journal(path, memory_limit=64), []
    for step in steps:
        if step is None:
            assert journal.pop() == (model.pop(0) if model else None)
        else:
            journal.append(step)
            model.append(step)
    while model:
        assert journal.pop() == model.pop(0)
    assert journal.pop() is None
    journal.close()
    assert not path.exists()


def test_a_copy_keeps_bytes_and_holes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "empty").touch()
    with open(source / "inner" / "holes", "wb") as file:
        file.write(b"begin")
        file.seek(8 * 2**20)
        file.write(b"middle")
        file.truncate(16 * 2**20)
    os.truncate(source / "empty", 2**20)
    copy_tree(source, tmp_path / "target")
    for name in ("inner/holes", "empty"):
        original, copy = source / name, tmp_path / "target" / name
        assert original.read_bytes() == copy.read_bytes()
        assert copy.stat().st_blocks <= original.stat().st_blocks + 16


def test_the_pointer_decides_and_leftovers_go(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    generations = Generations(layout)
    assert generations.current() is None
    for name in ("000001", "000002", "draft"):
        (layout.shards / name).mkdir(parents=True)
    assert generations.current() == layout.shards / "000001"  # the old one is the authority
    generations.point_to(layout.shards / "000002")
    assert generations.current() == layout.shards / "000002"
    assert generations.next() == layout.shards / "000003"
    assert sorted(generations.clean(generations.current())) == ["000001", "draft"]
    assert [path.name for path in layout.shards.iterdir()] == ["000002"]
    layout.pointer.write_text("../../etc\n")
    with pytest.raises(DamagedShardError, match="python -m indexing repair"):
        generations.current()


def test_the_description_is_written_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert write_description(layout, SPEC, EngineParameters())
    assert not write_description(layout, CollectionSpec(8, "x", "y", sparse_idf=False), EngineParameters())
    assert read_description(layout) == (SPEC, EngineParameters())
    layout.description.write_text('{"format": 99}')
    with pytest.raises(CollectionError, match="format 99"):
        read_description(layout)


@pytest.mark.parametrize("way", [None, 1, 3])
def test_a_spec_with_ids_of_another_way_is_refused(way: int | None) -> None:
    body = asdict(SPEC)
    assert CollectionSpec.stored(body) == SPEC
    del body["point_ids"]
    with pytest.raises(FingerprintMismatchError, match=r"in way [13].*python -m indexing reindex"):
        CollectionSpec.stored(body if way is None else {**body, "point_ids": way})
    with pytest.raises(TypeError):
        CollectionSpec.stored({})


def test_a_mismatch_names_both_sides() -> None:
    check_spec(SPEC, SPEC)
    with pytest.raises(FingerprintMismatchError, match=r"'sparse-a'.*'sparse-b'.*python -m indexing reindex"):
        check_spec(SPEC, replace(SPEC, sparse_fingerprint="sparse-b"))


# ── the server's address ──────────────────────────────────────────────────


@pytest.mark.parametrize("prefer_grpc", [True, False])
def test_an_unreachable_server_is_named_without_secrets(prefer_grpc: bool) -> None:
    settings = CollectionSettings(
        home="server",
        url="http://user:hidden@127.0.0.1:1",
        grpc_port=1,
        api_key="hidden-key",
        prefer_grpc=prefer_grpc,
        timeout_s=3,
    )
    with pytest.raises(CollectionUnavailableError, match=r"http://127\.0\.0\.1:1") as caught:
        asyncio.run(open_server(settings, SPEC))
    assert "hidden" not in str(caught.value)


def test_shown_addresses() -> None:
    assert shown_address("https://u:p@example.org:6333/x?api-key=k") == "https://example.org:6333"
