"""Two generations side by side: the same documents in both, whatever happens and wherever it dies."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.index_state import all_points, compare_points
from indexing import cli
from indexing.catalog import open_catalog
from indexing.catalog.generations import Pair
from indexing.catalog.schema import SCHEMA_VERSION
from indexing.collection.protocol import StoredPoint
from indexing.errors import CollectionUnavailableError, EncoderError, IngestBusyError, InputError
from indexing.ingest import add_texts, delete_document
from indexing.ingest.reconcile import reindex, repair_index
from indexing.migration.backfill import start
from indexing.migration.change import drop, standing, switch
from indexing.migration.lease import reading
from indexing.records import Embedding
from indexing.session import Index
from indexing.settings import EncoderSettings, Settings, load_settings
from tests.fakes.forked import forked
from tests.fakes.two_generations import (
    NEW,
    OLD,
    NamedEncoders,
    Patched,
    corpus,
    in_child,
    item,
    load_named,
    run_step,
)

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
HOMES = ("file", "memory", "embedded", "server")


def open_index(settings: Settings) -> Index:
    return Index(settings, open_catalog(settings))


def dense_name(points: list[StoredPoint]) -> set[str]:
    """Whose dense vectors these are."""
    names = set()
    for point in points:
        title = point.payload.get("title") if point.payload["ordinal"] == 0 else None
        text = str(point.payload["text"])
        wanted = f"{title}. {text}" if title else text
        for name in ("old", "new"):
            made = load_named(EncoderSettings(dense=name)).embed_documents([wanted])[0].dense
            if (
                made is not None
                and point.embedding is not None
                and abs(made - point.embedding.dense).max() < 1e-4
            ):
                names.add(name)
    return names


def same_documents(index: Index) -> None:
    """Both generations hold exactly what one indexed by their encoders alone would hold."""
    mirror = index.mirror
    assert mirror is not None
    served, beside = all_points(index), all_points(mirror)
    live = {
        (one.doc_id, one.version): one.sentences for one in index.catalog.documents("default", limit=1000)
    }
    for points in (served, beside):
        found = {(str(p.payload["doc_id"]), str(p.payload["version"])) for p in points}
        assert found == set(live)
        assert len(points) == sum(live.values()) == len({point.id for point in points})
    assert dense_name(served) == {index.settings.encoders.dense}
    assert dense_name(beside) == {mirror.settings.encoders.dense}
    assert {p.id: dict(p.payload) for p in served} == {p.id: dict(p.payload) for p in beside}


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Six documents in both of their generations."""
    with open_index(Patched(monkeypatch, "file").settings(tmp_path)) as index:
        add_texts(index, corpus(6))
        start(index, NEW)
        yield index


@pytest.mark.parametrize("home", HOMES)
def test_the_whole_way_and_back(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, home)
    with open_index(fakes.settings(tmp_path)) as index:
        add_texts(index, corpus(20))
        assert start(index, NEW) == 2
        same_documents(index)
        assert index.pair.number == 1

        add_texts(index, [item("doc001", "The river is frozen now."), *corpus(4, 50)])
        delete_document(index, "default", "doc002")
        same_documents(index)

        assert switch(index, unchecked=True) == 2
        assert index.settings.encoders.dense == "new"
        same_documents(index)
        add_texts(index, [item("doc003", "Another bank."), *corpus(3, 60)])
        delete_document(index, "default", "doc004")
        same_documents(index)

        assert switch(index, back=True) == 1
        assert index.settings.encoders.dense == "old"
        same_documents(index)
        assert switch(index, unchecked=True) == 2
        index.configured = fakes.settings(tmp_path, EncoderSettings(dense="third"))
        with pytest.raises(InputError, match=r"encoders\.dense = 'new'"):
            drop(index)
        index.configured = fakes.settings(tmp_path, OLD if home == "file" else NEW)
        assert drop(index) == 1
        assert index.settings.encoders.dense == "new"
        assert (index.mirror, index.pair.number) == (None, 2)
        add_texts(index, corpus(2, 70))
        assert dense_name(all_points(index)) == {"new"}
        if home == "server":
            names = {one.name for one in asyncio.run(fakes.client.get_collections()).collections}
            aliases = asyncio.run(fakes.client.get_aliases()).aliases
            assert names == {"winnow.g2"}
            assert [(one.alias_name, one.collection_name) for one in aliases] == [
                ("winnow.served", "winnow.g2")
            ]


def test_an_encoder_that_fails_costs_what_is_served_nothing(
    begun: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: NamedEncoders, texts: list[str]) -> list[Embedding]:
        if self.name == "new":
            raise EncoderError("the new model is not usable")
        return working(self, texts)

    working = NamedEncoders.embed_documents
    with monkeypatch.context() as patch:
        patch.setattr(NamedEncoders, "embed_documents", broken)
        report = add_texts(begun, corpus(2, 20))
        assert (report.failures, report.documents) == ([], 2)
        found = standing(begun)
        assert (found.debt.documents, found.queued.documents, found.complete) == (2, 0, False)
        assert "not usable" in found.pair.beside.trouble
        with pytest.raises(EncoderError):
            switch(begun, unchecked=True)
        assert begun.pair.number == 1
    add_texts(begun, corpus(1, 30))
    assert standing(begun).complete
    assert standing(begun).pair.beside.trouble == ""
    same_documents(begun)


def test_a_server_that_fails_keeps_the_note_of_a_deletion(
    begun: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(ids: list[str]) -> None:
        raise CollectionUnavailableError("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(begun.mirror.collection, "delete", away)
        delete_document(begun, "default", "doc001")
        assert {point.payload["doc_id"] for point in all_points(begun)}.isdisjoint({"doc001"})
        assert begun.catalog.totals().retiring == 1
    add_texts(begun, corpus(1, 30))
    assert begun.catalog.totals().retiring == 0
    same_documents(begun)


def test_a_document_deleted_and_added_again_is_made_again_on_both_sides(begun: Index) -> None:
    ids = [point.id for point in all_points(begun) if point.payload["doc_id"] == "doc001"]
    # As a process leaves it that dies between the points' end and the rows' end.
    begun.catalog.staging.forget_document("default", "doc001")
    for side in (begun, begun.mirror):
        side.bridge(side.collection.delete, ids)
    add_texts(begun, corpus(2))
    same_documents(begun)


def test_repair_mends_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, "server")
    with open_index(fakes.settings(tmp_path)) as index:
        add_texts(index, corpus(8))
        start(index, NEW)
        lost = [point.id for point in all_points(index.mirror)][:5]
        index.bridge(index.mirror.collection.delete, lost)
        repair_index(index)
        same_documents(index)
        index.bridge(index.mirror.collection.delete, lost)
        assert switch(index, unchecked=True) == 2  # a switch counts, and mends what it can
        same_documents(index)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, "file")
    with open_index(fakes.settings(tmp_path)) as index:
        add_texts(index, corpus(3))
        for call in (lambda: switch(index), lambda: switch(index, back=True), lambda: drop(index)):
            with pytest.raises(InputError):
                call()
        with pytest.raises(InputError, match="equal the served one"):
            start(index, OLD)
        assert start(index, NEW) == start(index, NEW) == 2  # again: nothing to do
        with pytest.raises(InputError, match="stands beside"):
            start(index, EncoderSettings(dense="third"))
        with pytest.raises(InputError, match="compared"):
            switch(index)
        with pytest.raises(InputError, match="under way"):
            reindex(index)
        pair, lease = reading(tmp_path, index.catalog)
        assert (pair.number, lease.number) == (1, 1)
        switch(index, unchecked=True)
        index.configured = fakes.settings(tmp_path, NEW)
        with pytest.raises(IngestBusyError, match="still answers from generation 1"):
            drop(index, wait_s=0.0)
        lease.close()
        assert drop(index, wait_s=0.0) == 1
        assert start(index, OLD) == 3  # and the next one has the next number


def test_another_process_follows_a_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, "file")
    with open_index(fakes.settings(tmp_path)) as index, open_index(fakes.settings(tmp_path)) as other:
        add_texts(index, corpus(4))
        add_texts(other, corpus(1, 10))
        start(index, NEW)
        switch(index, unchecked=True)
        add_texts(other, corpus(2, 20))  # opened before the migration, with the old encoders
        assert other.settings.encoders.dense == "new"
        same_documents(other)
        same_documents(index)


def test_an_ingest_gets_its_turn_during_a_backfill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, "file")
    for name, value in (("SLICE_S", 0.02), ("PAUSE_S", 0.15), ("_BATCH", 4)):
        monkeypatch.setattr(f"indexing.migration.backfill.{name}", value)
    working = NamedEncoders.embed_documents

    def slow(self: NamedEncoders, texts: list[str]) -> list[Embedding]:
        if self.name == "new":
            time.sleep(0.02)
        return working(self, texts)

    monkeypatch.setattr(NamedEncoders, "embed_documents", slow)
    with open_index(fakes.settings(tmp_path)) as index, open_index(fakes.settings(tmp_path)) as other:
        add_texts(index, corpus(40))
        backfill = threading.Thread(target=start, args=(index, NEW))
        backfill.start()
        end = time.monotonic() + 30
        while not (0 < standing(other).queued.sentences < 90):  # under way
            assert time.monotonic() < end
            time.sleep(0.01)
        add_texts(other, [item("doc039", "The last river is new."), *corpus(2, 100)])
        delete_document(other, "default", "doc000")
        assert standing(other).queued.documents > 0  # they did not wait for its end
        backfill.join(60)
        assert not backfill.is_alive()
        other.follow()
        same_documents(other)


def test_other_term_weights_alone_run_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, "file")
    with open_index(fakes.settings(tmp_path)) as index:
        add_texts(index, corpus(6))
        start(index, OLD.model_copy(update={"bm25_k1": 2.0}))
        assert index.mirror.encoders.encoded == []
        assert len(index.mirror.encoders.weighed) == index.catalog.totals().sentences
        same_documents(index)
        found = compare_points(all_points(index), all_points(index.mirror))
        assert not found.different  # this stand-in weighs words the same whatever k1 is
        switch(index, unchecked=True)
        same_documents(index)


def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes = Patched(monkeypatch, "file")
    monkeypatch.setenv("WINNOW_ENCODERS__DENSE", "old")
    with open_index(fakes.settings(tmp_path)) as index:
        add_texts(index, corpus(5))

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main(["migrate", *arguments, "--home", str(tmp_path)])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    assert run("status") == (
        0,
        "one generation, made by the configured encoders; no migration is under way\n",
    )
    assert run("start")[0] == 2
    assert "generation 2 holds every document" in run("start", "--dense", "new")[1]
    body = json.loads(run("status", "--json")[1])
    assert (body["served"]["number"], body["other"]["collection"]) == (1, "winnow.g2")
    assert (body["complete"], body["owed_documents"], body["comparison"]) == (True, 0, None)
    assert "python -m retrieval.migration" in run("switch")[1]
    assert run("switch", "--unchecked", "--wait-s", "0") == (0, "generation 2 is served\n")
    assert run("undo", "--wait-s", "0") == (0, "generation 1 is served\n")
    assert run("start")[0] == 0  # nothing is named: it goes on with what is under way
    assert "owed to the other: 0 documents" in run("status")[1]
    assert run("drop") == (0, "generation 2 is gone\n")
    assert run("undo")[0] == 2


def test_a_catalogue_of_the_first_schema_gets_the_new_tables(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    open_catalog(settings).close()
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        for statement in (
            "DROP TABLE mirrored",
            "DROP TABLE generations",
            "DROP TRIGGER mirrored_again",
            "UPDATE meta SET value = '1' WHERE key = 'schema_version'",
        ):
            database.execute(statement)
    catalog = open_catalog(settings)
    assert catalog.generations.pair() == Pair()
    assert catalog.meta("schema_version") == str(SCHEMA_VERSION)
    catalog.close()


# The steps of a migration, and the points that each is killed at.
STEPS = (
    (
        "start",
        "migration-listed migration-created mirror-measured mirror-average-set mirror-embedded "
        "mirror-upserted mirror-recorded migration-filled",
    ),
    (
        "write",
        "sources-staged upserted recorded mirror-measured mirror-embedded mirror-upserted mirror-recorded "
        "points-deleted mirror-points-deleted rows-deleted",
    ),
    ("drift", "average-set mirror-average-set mirror-re-weighed re-weighed"),
    ("switch", "switch-ready switched alias-moved"),
    ("undo", "switch-ready switched alias-moved"),
    ("switch", ""),
    ("drop", "drop-listed generation-deleted drop-ended"),
)


def state(settings: Settings) -> tuple[object, ...]:
    """Everything that must be equal after a kill and a second try."""
    with open_index(settings) as index:
        if index.mirror is not None:
            same_documents(index)
        files = sorted(path.name for path in settings.home.glob("*.points"))
        averages = [index.catalog.generations.average(number) for number in (1, 2)]
        beside = [] if index.mirror is None else all_points(index.mirror)
        return index.pair.number, index.settings.encoders.dense, files, averages, all_points(index), beside


def equal(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    points = [compare_points(one[at], other[at]) for at in (-2, -1)]  # type: ignore[arg-type]
    return one[:-2] == other[:-2] and not any(points)


def test_killed_at_every_named_point_it_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Patched(monkeypatch, "file")
    home, killed = tmp_path / "home", tmp_path / "killed"
    with open_index(fakes.settings(home)) as index:
        add_texts(index, corpus(12))
    for number, (step, points) in enumerate(STEPS):
        before = tmp_path / f"before{number}"
        shutil.copytree(home, before)
        encoders = NEW if step == "drop" else EncoderSettings(dense="old")
        with open_index(fakes.settings(home, encoders)) as index:
            run_step(index, step)
        reference = state(fakes.settings(home, encoders))
        for point in points.split():
            shutil.rmtree(killed, ignore_errors=True)
            shutil.copytree(before, killed)
            child = forked(in_child, "file", killed, step, point, 1)
            child.join(60)
            assert child.exitcode == -signal.SIGKILL, f"{step}: {point} was never passed"
            with open_index(fakes.settings(killed, encoders)) as index:
                if step != "drop" or index.pair.other is not None:
                    run_step(index, step)
            assert equal(reference, state(fakes.settings(killed, encoders))), f"{step}: {point}"
    assert reference[:3] == (2, "new", ["winnow.g2.points"])
