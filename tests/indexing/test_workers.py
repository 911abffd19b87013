"""Encoding by many workers gives what one worker gives."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from indexing.encoders import load_encoders
from indexing.errors import EncoderError
from indexing.ingest import add_texts
from indexing.ingest.encoding import Setup
from indexing.ingest.workers import ProcessPool, in_order, open_pool, share_of_threads
from indexing.session import Index
from indexing.settings import EncoderSettings
from indexing.transfer.push import target_settings
from tests.fakes.forked import forked
from tests.fakes.moving_index import TENANTS, fill_and_die, item, opened, with_workers
from tests.fakes.qdrant_server import QdrantServer

FAKE = ("tests.fakes.worker_encoders", "load_fake")
PATIENCE_S = 180.0


def everything(index: Index) -> tuple[dict[str, object], list[object]]:
    """Every point with its vectors' bytes, and what the catalogue says of every document."""
    points = {}
    for batch in index.bridge.iterate(index.collection.scroll, tenant=None, with_vectors=True):
        for row in batch:
            dense = None if row.embedding.dense is None else row.embedding.dense.tobytes()
            points[row.id] = (dense, row.embedding.sparse, dict(row.payload))
    rows = [
        (doc.tenant, doc.doc_id, doc.version, doc.sentences, doc.sources)
        for tenant in TENANTS
        for doc in index.catalog.documents(tenant)
    ]
    return points, [*rows, index.catalog.meta("sparse_average_length"), index.catalog.totals()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """What one worker makes of the corpus, and of a second edition of half of it."""
    home = tmp_path_factory.mktemp("alone") / "home"
    with opened(home, with_workers(home, 1)) as index:
        first(index)
        states = [everything(index)]
        second(index)
        return [*states, everything(index)]


def first(index: Index) -> None:
    add_texts(index, [item("acme", number) for number in range(30)], tenant="acme")


def second(index: Index) -> None:
    items = [item("acme", number, edition=1 + number % 2) for number in range(30)]
    assert add_texts(index, items, tenant="acme").documents == 15


def test_two_workers_make_the_same_index(alone: list[object], tmp_path: Path) -> None:
    home, notes = tmp_path / "home", tmp_path / "notes"
    notes.mkdir()
    with opened(home, with_workers(home, 2, notes)) as index:
        first(index)
        assert everything(index) == alone[0]
        second(index)
        assert everything(index) == alone[1]
    assert len(list(notes.iterdir())) == 4
    assert str(os.getpid()) not in {path.name for path in notes.iterdir()}


def test_two_workers_fill_a_server_with_the_same_points(alone: list[object], tmp_path: Path) -> None:
    home = tmp_path / "home"
    with QdrantServer() as server:
        settings = target_settings(with_workers(home, 2), server.url)
        with opened(home, settings) as index:
            first(index)
            points, catalogue = everything(index)
    expected, same_catalogue = alone[0]
    assert catalogue == same_catalogue
    assert list(points) == list(expected)
    for key, (dense, sparse, payload) in points.items():
        assert payload == expected[key][2]
        assert sparse.indices == expected[key][1].indices
        assert sparse.values == pytest.approx(expected[key][1].values, rel=1e-6)
        vectors = [np.frombuffer(one, dtype=np.float32) for one in (dense, expected[key][0])]
        np.testing.assert_allclose(*vectors, atol=1e-6)


@pytest.mark.parametrize("hit", [2, 9])
def test_killed_the_workers_leave_and_the_next_run_is_exact(
    alone: list[object], tmp_path: Path, hit: int
) -> None:
    home, notes = tmp_path / "home", tmp_path / "notes"
    notes.mkdir()
    child = forked(fill_and_die, home, notes, hit)
    child.join(PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL
    workers = {int(path.name) for path in notes.iterdir()}
    assert workers
    end = time.monotonic() + PATIENCE_S
    while any(running(pid) for pid in workers):
        assert time.monotonic() < end, "a worker outlived the run"
        time.sleep(0.1)
    with opened(home, with_workers(home, 2)) as index:
        assert 0 < index.bridge(index.collection.count, tenant=None) < 180
        first(index)
        assert everything(index) == alone[0]


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_worker_that_dies_is_an_error_and_the_next_run_goes_on(alone: list[object], tmp_path: Path) -> None:
    home, notes = tmp_path / "home", tmp_path / "notes"
    notes.mkdir()
    with opened(home, with_workers(home, 2, notes)) as index:

        def kill_workers(name: str) -> None:
            if name == "recorded":
                for path in notes.iterdir():
                    if running(int(path.name)):
                        os.kill(int(path.name), signal.SIGKILL)

        index.checkpoint = kill_workers
        with pytest.raises(EncoderError, match="run it again"):
            first(index)
        index.checkpoint = lambda name: None
        first(index)
        assert everything(index) == alone[0]


def test_models_that_do_not_load_are_an_error() -> None:
    pool = ProcessPool(Setup(("tests.fakes.worker_encoders", "nothing_here"), EncoderSettings(), None), 1)
    try:
        with pytest.raises(EncoderError, match="did not load"):
            pool.submit(["a"]).result()
    finally:
        pool.close()


class Counting:
    """A pool that knows how many batches are under way."""

    count = 3

    def __init__(self) -> None:
        self.most = self.now = 0

    def submit(self, texts: list[str]) -> Counting:
        self.now += 1
        self.most = max(self.most, self.now)
        return self

    def result(self) -> list[object]:
        self.now -= 1
        return []

    def close(self) -> None: ...


def test_batches_keep_their_order_and_few_are_under_way() -> None:
    pool = Counting()
    assert [batch for batch, _ in in_order(pool, ((n, ["x"]) for n in range(50)))] == list(range(50))
    assert pool.most == 5


def test_threads_are_shared() -> None:
    assert share_of_threads(EncoderSettings(threads=8), 3).threads == 2
    assert share_of_threads(EncoderSettings(threads=2), 5).threads == 1
    assert share_of_threads(EncoderSettings(), 10_000).threads == 1
    assert open_pool(Setup(FAKE, EncoderSettings(), None), 1, None) is None


def test_the_shipped_encoder_gives_the_same_bits_in_a_worker() -> None:
    settings = EncoderSettings(threads=1)
    texts = [f"The {number}th report speaks of rivers and of {number * 7} boats." for number in range(12)]
    here = load_encoders(settings, average_length=6.0).embed_documents(texts)
    pool = ProcessPool(Setup(("indexing.encoders", "load_encoders"), settings, 6.0), 1)
    try:
        there = pool.submit(texts).result()
    finally:
        pool.close()
    for one, other in zip(here, there, strict=True):
        assert one.sparse == other.sparse
        assert np.array_equal(one.dense, other.dense)


def test_ray_makes_the_same_index(alone: list[object], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    home = tmp_path / "home"
    with opened(home, with_workers(home, 2, ray="local")) as index:
        first(index)
        assert everything(index) == alone[0]
