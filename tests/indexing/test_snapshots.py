"""Snapshots: one moment of an index, checked, restored, and never half of one."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexing import cli
from indexing.catalog import open_catalog
from indexing.errors import InputError, MismatchError, WinnowError
from indexing.ingest import add_texts
from indexing.migration.backfill import start as begin_migration
from indexing.migration.change import switch
from indexing.session import Index
from indexing.snapshots.create import create_snapshot
from indexing.snapshots.manifest import hash_all, read_manifest
from indexing.snapshots.restore import restore_snapshot
from indexing.snapshots.verify import verify_snapshot
from indexing.transfer.push import target_settings
from tests.fakes.forked import forked
from tests.fakes.index_parts import FakeEncoders
from tests.fakes.moving_index import (
    TENANTS,
    fill,
    item,
    opened,
    push_small,
    restore_and_die,
    settings_in,
    snapshot_and_die,
)
from tests.fakes.qdrant_server import QdrantServer
from tests.fakes.two_generations import NEW, Patched, corpus

DOCUMENTS = 6
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with a job, an upload, a second database and files that are not the index's own."""
    home = tmp_path_factory.mktemp("shared") / "home"
    with opened(home) as index:
        fill(index, DOCUMENTS)
        index.catalog.create_job("acme", "files", {"paths": ["uploads/x/0000/a.md"]}, job_id="x")
    (home / "uploads" / "x" / "0000").mkdir(parents=True)
    (home / "uploads" / "x" / "0000" / "a.md").write_text("Uploaded.")
    (home / "uploads" / ".incoming-y").mkdir()
    with sqlite3.connect(home / "conversations.db") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE turns (text)")
        database.execute("INSERT INTO turns VALUES ('kept')")
    (home / "cache-salt.key").write_text("secret")
    return home


@pytest.fixture(scope="module")
def snapshot(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "monday"
    with opened(home) as index:
        manifest = create_snapshot(index, folder, queries=8)
    assert manifest.documents == 2 * DOCUMENTS
    return folder


def answers(index: Index) -> list[object]:
    """What a searcher sees: hits with scores and payloads of every tenant, and the documents' texts."""
    seen: list[object] = []
    for tenant in TENANTS:
        for text in ("word3 in report", "Sentence 2 of report 4", "nothing like it"):
            (query,) = index.encoders.embed_queries([text])
            found = index.bridge(index.collection.search, query, tenant=tenant, top_k=8, exact=True)
            for side in (found.dense, found.sparse):
                seen += [(hit.id, hit.rank, hit.score, dict(hit.payload)) for hit in side]
        seen += [index.catalog.text(tenant, doc.doc_id) for doc in index.catalog.documents(tenant)]
    return seen


def rounded(seen: list[object]) -> list[object]:
    """Scores to five digits: a server that reads its vectors again normalises them again."""
    return [
        (*hit[:2], round(hit[2], 5), hit[3]) if isinstance(hit, tuple) and len(hit) == 4 else hit
        for hit in seen
    ]


def test_it_verifies_and_nothing_in_it_changes(snapshot: Path, tmp_path: Path) -> None:
    before = hash_all(snapshot)
    manifest = verify_snapshot(snapshot, settings_in(tmp_path))
    assert manifest.collections[0].points == 2 * DOCUMENTS * 6
    assert manifest.collections[0].samples
    assert hash_all(snapshot) == before
    assert not any(".incoming" in name for name in before)


def test_restored_it_gives_identical_results(home: Path, snapshot: Path, tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "new")
    restore_snapshot(snapshot, settings)
    with opened(home) as index, opened(settings.home) as restored:
        assert answers(restored) == answers(index)
        assert restored.catalog.job("acme", "x").state == "queued"
        assert add_texts(restored, [item("default", 99)]).sentences == 6
    with sqlite3.connect(settings.home / "conversations.db") as database:
        assert database.execute("SELECT text FROM turns").fetchall() == [("kept",)]
    assert (settings.home / "uploads/x/0000/a.md").read_text() == "Uploaded."
    assert (settings.home / "cache-salt.key").read_text() == "secret"
    assert not (settings.home / ".restoring").exists()


def test_neither_an_old_folder_nor_one_in_the_home_is_written_to(home: Path, tmp_path: Path) -> None:
    with opened(home) as index:
        for folder in (tmp_path, home / "backup"):
            with pytest.raises(InputError):
                create_snapshot(index, folder)
    assert list(tmp_path.iterdir()) == []
    assert not (home / "backup").exists()


def test_only_an_empty_home_is_restored_into(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        restore_snapshot(snapshot, settings_in(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize("harm", ["byte", "missing", "surplus", "manifest", "no manifest"])
def test_harm_is_seen_before_anything_is_restored(snapshot: Path, tmp_path: Path, harm: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(snapshot, copy)
    victim = copy / "collections/winnow/collection.json"
    if harm == "byte":
        body = bytearray(victim.read_bytes())
        body[10] ^= 1
        victim.write_bytes(bytes(body))
    elif harm == "missing":
        victim.unlink()
    elif harm == "surplus":
        (copy / "home" / "evil.db").write_text("x")
    elif harm == "manifest":
        path = copy / "manifest.json"
        path.write_text(path.read_text()[:-30])
    else:
        (copy / "manifest.json").unlink()
    expected = InputError if harm == "no manifest" else MismatchError
    for act in (verify_snapshot, restore_snapshot):
        with pytest.raises(expected):
            act(copy, settings_in(tmp_path / "new"))
    assert not (tmp_path / "new" / "catalog.db").exists()


def test_a_hash_cannot_hide_points_that_went(snapshot: Path, tmp_path: Path) -> None:
    """A copy that is sound as files and holds less than was noted is refused by opening it."""
    copy = tmp_path / "copy"
    shutil.copytree(snapshot, copy)
    path = copy / "manifest.json"
    path.write_text(path.read_text().replace('"points": 72', '"points": 73'))
    with pytest.raises(MismatchError, match="72 points instead of 73"):
        verify_snapshot(copy, settings_in(tmp_path))


POINTS_OF_CREATE = ["snapshot-home", "snapshot-shard", "snapshot-filled", "snapshot-described"]


@pytest.mark.parametrize("point", POINTS_OF_CREATE)
def test_killed_while_made_there_is_none(home: Path, tmp_path: Path, point: str) -> None:
    folder = tmp_path / "tuesday"
    child = forked(snapshot_and_die, home, folder, point)
    child.join(PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL
    assert not folder.exists()
    left = [path for path in tmp_path.iterdir() if path.name.startswith(".tuesday")]
    assert left
    if point != "snapshot-described":
        with pytest.raises(InputError, match="no snapshot"):
            verify_snapshot(left[0], settings_in(tmp_path / "x"))
    else:
        # Whole, described, on the disk; only its name was missing.
        verify_snapshot(left[0], settings_in(tmp_path / "x"))


@pytest.mark.parametrize("call", [1, 3])
def test_killed_while_restored_it_is_finished_by_the_next(
    home: Path, snapshot: Path, tmp_path: Path, call: int
) -> None:
    """``call``: at which rename into place the process dies."""
    target = tmp_path / "new"
    child = forked(restore_and_die, snapshot, target, call)
    child.join(PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL
    assert not (target / "catalog.db").exists()
    restore_snapshot(snapshot, settings_in(target))
    with opened(home) as index, opened(target) as restored:
        assert answers(restored) == answers(index)


def test_searches_go_on_and_writes_wait(tmp_path: Path) -> None:
    """While one thread adds documents and another searches, every snapshot is of one moment."""
    with opened(tmp_path / "home") as index:
        fill(index, 4)
        stop = threading.Event()
        failures: list[BaseException] = []

        def until_stopped(work: object) -> None:
            with opened(tmp_path / "home") as other:
                number = 100
                while not stop.is_set():
                    number += 1
                    try:
                        work(other, number)
                    except BaseException as error:
                        failures.append(error)
                        return
                    time.sleep(0.02)

        def write(other: Index, number: int) -> None:
            add_texts(other, [item("default", number)])

        def read(other: Index, number: int) -> None:
            assert answers(other)

        threads = [threading.Thread(target=until_stopped, args=(work,)) for work in (write, read)]
        for thread in threads:
            thread.start()
        try:
            manifests = [create_snapshot(index, tmp_path / f"s{number}") for number in range(2)]
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE_S)
    assert not failures
    for number, manifest in enumerate(manifests):
        assert manifest.collections[0].points == 6 * manifest.documents
        verify_snapshot(tmp_path / f"s{number}", settings_in(tmp_path / "x"))


def test_a_generation_beside_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, "embedded")
    settings = fakes.settings(tmp_path / "home")
    with Index(settings, open_catalog(settings)) as index:
        add_texts(index, corpus(6))
        begin_migration(index, NEW)
        manifest = create_snapshot(index, tmp_path / "thursday", queries=4)
    assert [entry.name for entry in manifest.collections] == ["winnow", "winnow.g2"]
    verify_snapshot(tmp_path / "thursday", settings)
    settings = fakes.settings(tmp_path / "new")
    restore_snapshot(tmp_path / "thursday", settings)
    with Index(settings, open_catalog(settings)) as index:
        assert index.bridge(index.mirror.collection.count, tenant=None) == manifest.collections[1].points
        assert switch(index, unchecked=True) == 2
        add_texts(index, corpus(2, 20))
        assert index.bridge(index.collection.count, tenant=None) > manifest.collections[1].points


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    with QdrantServer() as running:
        yield running


def test_a_server_s_own_snapshot_goes_along(home: Path, server: QdrantServer, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with opened(home) as index:
        push_small(index, server.url)
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*.sock", "*.addr", "collections"))
    settings = target_settings(settings_in(copy), server.url)
    folder = tmp_path / "wednesday"
    with Index(settings, open_catalog(settings), encoders=FakeEncoders()) as index:
        manifest = create_snapshot(index, folder)
        expected = answers(index)
    assert manifest.kind == "server"
    assert server.backend.client is not None
    assert server.backend.snapshots.list("winnow") == []
    verify_snapshot(folder, settings)
    assert list(server.backend.local.collections) == ["winnow"]
    with QdrantServer() as other:
        fresh = target_settings(settings_in(tmp_path / "new"), other.url)
        restore_snapshot(folder, fresh)
        with Index(fresh, open_catalog(fresh), encoders=FakeEncoders()) as restored:
            assert rounded(answers(restored)) == rounded(expected)
    server.backend.local.delete("winnow", [manifest.collections[0].samples[0]["id"]])
    with pytest.raises(WinnowError, match="not the snapshot's"):
        restore_snapshot(folder, target_settings(settings_in(tmp_path / "newer"), server.url))


def test_the_command_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_COLLECTION__IDLE_EXIT_S", "0.5")
    folder, new = str(tmp_path / "s"), str(tmp_path / "new")
    assert cli.main(["snapshot", "create", folder, "--home", str(home)]) == 0
    assert cli.main(["snapshot", "create", folder, "--home", str(home)]) == 2
    assert cli.main(["snapshot", "verify", folder]) == 0
    assert cli.main(["snapshot", "restore", folder, "--home", new]) == 0
    assert cli.main(["snapshot", "restore", folder, "--home", new]) == 2
    assert read_manifest(Path(folder)).documents == 12
    (Path(folder) / "home" / "catalog.db").write_bytes(b"")
    capsys.readouterr()
    assert cli.main(["snapshot", "verify", folder]) == 1
    assert "other bytes" in capsys.readouterr().err
