"""The embedded collection moves to a server: whole, resumable, compared."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from qdrant_client.models import PointStruct, PointVectors

from indexing import cli
from indexing.catalog import open_catalog
from indexing.collection import StoredPoint
from indexing.errors import CollectionUnavailableError, InputError, MismatchError
from indexing.ingest import add_texts, delete_document
from indexing.session import Index
from indexing.transfer.compare import sample
from indexing.transfer.push import target_settings
from tests.fakes.faults import Faults, Kind
from tests.fakes.forked import forked
from tests.fakes.index_parts import FakeEncoders
from tests.fakes.moving_index import fill, item, opened, push_and_die, push_small, settings_in
from tests.fakes.qdrant_server import QdrantServer

POINTS = 2 * 20 * 6
PATIENCE_S = 180.0


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    with QdrantServer() as running:
        yield running


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Pushed by many tests, each to a server of its own, and changed by none."""
    with opened(tmp_path_factory.mktemp("shared") / "home") as made:
        fill(made)
        yield made


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[Index]:
    with opened(tmp_path / "home") as made:
        fill(made)
        yield made


def upserts(server: QdrantServer) -> int:
    return server.requests.count(("PUT", "/collections/winnow/points"))


def stored(server: QdrantServer) -> dict[str, object]:
    rows, after = server.backend.local.scroll("winnow", limit=10_000, with_vectors=True)
    assert after is None
    assert max(Counter(row.id for row in rows).values()) == 1
    return {str(row.id): row for row in rows}


def ids_here(index: Index) -> set[str]:
    batches = index.bridge.iterate(index.collection.scroll, tenant=None)
    return {row.id for batch in batches for row in batch}


def test_everything_arrives_and_searches_agree(index: Index, server: QdrantServer) -> None:
    report = push_small(index, server.url)
    assert (report.points, report.sent, report.before, report.deleted) == (POINTS, POINTS, 0, 0)
    assert report.tenants == {"acme": 120, "default": 120}
    assert report.sampled > 0
    assert set(stored(server)) == ids_here(index)
    again = push_small(index, server.url)
    assert (again.sent, again.before, again.points) == (0, POINTS, POINTS)


def test_what_changed_since_is_sent_and_what_went_is_deleted(changing: Index, server: QdrantServer) -> None:
    push_small(changing, server.url)
    delete_document(changing, "acme", "d3")
    add_texts(changing, [item("default", 5, edition=2)])
    report = push_small(changing, server.url)
    assert report.points == POINTS - 6
    assert report.deleted == 12
    assert set(stored(server)) == ids_here(changing)


@pytest.mark.parametrize("kind", ["drop", "lose", "garble", "truncate", "error"])
def test_faults_are_met_by_trying_again(index: Index, server: QdrantServer, kind: Kind) -> None:
    server.faults = Faults((kind,), share=0.2, seed=5, paths="/collections/winnow/points")
    report = push_small(index, server.url)
    assert server.faults.injected[kind] > 0
    assert report.points == POINTS
    assert set(stored(server)) == ids_here(index)


def test_a_server_that_stays_away_is_said_and_the_next_run_goes_on(
    index: Index, server: QdrantServer
) -> None:
    server.faults = Faults(("error",), paths="/points$", after=5)
    with pytest.raises(CollectionUnavailableError):
        push_small(index, server.url)
    server.faults = Faults()
    report = push_small(index, server.url)
    assert report.before >= 16
    assert report.before + report.sent == POINTS
    assert set(stored(server)) == ids_here(index)


@pytest.mark.parametrize("after", [1, 9])
def test_killed_and_run_again_nothing_is_lost_or_twice(
    tmp_path: Path, server: QdrantServer, after: int
) -> None:
    home = tmp_path / "home"
    with opened(home) as index:
        fill(index)
    child = forked(push_and_die, home, server.url, after)
    child.join(PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL
    assert 0 < len(stored(server)) < POINTS
    before = upserts(server)
    with opened(home) as index:
        report = push_small(index, server.url)
        assert report.before >= 16 * after
        assert report.before + report.sent == POINTS
        assert upserts(server) - before <= 1 - (-report.sent // 16)
        assert set(stored(server)) == ids_here(index)


def sampled(index: Index) -> StoredPoint:
    """The first point that the comparison looks at."""
    return index.bridge(sample, index.collection, 1, 0)[0]


@pytest.mark.parametrize("change", ["payload", "vectors"])
def test_a_difference_is_an_error_and_the_next_run_mends_it(
    index: Index, server: QdrantServer, change: str
) -> None:
    push_small(index, server.url)
    victim = sampled(index)
    local = server.backend.local
    if change == "payload":
        local.set_payload("winnow", {"text": "altered"}, [victim.id])
    else:
        vector = {"dense": (-victim.embedding.dense).tolist()}
        local.update_vectors("winnow", [PointVectors(id=victim.id, vector=vector)])
    with pytest.raises(MismatchError, match=f"{victim.id} has (another|other) {change}"):
        push_small(index, server.url)
    assert push_small(index, server.url).sent == POINTS


def test_points_that_went_or_came_there_are_mended_by_the_same_run(
    index: Index, server: QdrantServer
) -> None:
    push_small(index, server.url)
    rows = stored(server)
    payload = {**next(iter(rows.values())).payload, "tenant": "stranger"}
    server.backend.local.upsert("winnow", [PointStruct(id=str(UUID(int=1)), vector={}, payload=payload)])
    assert push_small(index, server.url).deleted == 1
    server.backend.local.delete("winnow", [sampled(index).id])
    assert push_small(index, server.url).points == POINTS
    assert set(stored(server)) == ids_here(index)


def test_a_stranger_s_collection_is_not_touched(index: Index, server: QdrantServer, tmp_path: Path) -> None:
    with opened(tmp_path / "other") as other:
        fill(other, 3)
        push_small(other, server.url)
    with pytest.raises(InputError, match="overwrite"):
        push_small(index, server.url)
    assert len(stored(server)) == 36
    assert push_small(index, server.url, overwrite=True).points == POINTS
    assert set(stored(server)) == ids_here(index)


def test_the_moved_index_goes_on_with_the_same_catalogue(
    changing: Index, server: QdrantServer, tmp_path: Path
) -> None:
    push_small(changing, server.url)
    settings = target_settings(settings_in(tmp_path / "home"), server.url)
    with Index(settings, open_catalog(settings), encoders=FakeEncoders()) as moved:
        assert add_texts(moved, [item("acme", 50)], tenant="acme").sentences == 6
        assert moved.bridge(moved.collection.count, tenant="acme") == 126
        with pytest.raises(InputError, match="embedded"):
            push_small(moved, server.url)
    # The embedded half is old now: the catalogue gives it away.
    with pytest.raises(Exception, match="moved to a server"):
        push_small(changing, server.url)


def test_the_command_line(
    tmp_path: Path, server: QdrantServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    with opened(home) as index:
        fill(index, 3)
    monkeypatch.setenv("WINNOW_COLLECTION__PREFER_GRPC", "false")
    monkeypatch.setenv("WINNOW_COLLECTION__IDLE_EXIT_S", "0.5")
    assert cli.main(["push", "--to", server.url, "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 36
    rows = stored(server)
    server.backend.local.overwrite_payload("winnow", {"tenant": "default"}, list(rows))
    assert cli.main(["push", "--to", server.url, "--home", str(home), "--queries", "5"]) == 1
    assert "differ" in capsys.readouterr().err
    assert cli.main(["push", "--to", server.url, "--home", str(tmp_path / "none")]) == 2


def test_nobody_at_the_address(index: Index) -> None:
    with pytest.raises(CollectionUnavailableError):
        push_small(index, "http://127.0.0.1:9")


def test_asyncio_is_not_left_running(index: Index, server: QdrantServer) -> None:
    server.faults = Faults(("error",), paths="/points$", after=2)
    with pytest.raises(CollectionUnavailableError):
        push_small(index, server.url)

    async def names() -> set[str]:
        return {task.get_coro().__qualname__ for task in asyncio.all_tasks()}

    assert not any("Patience" in name for name in index.bridge(names))
