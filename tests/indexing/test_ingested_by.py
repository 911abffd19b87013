"""Which key brought a document: kept beside its version, null where no key was asked for."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from indexing.catalog import open_catalog
from indexing.catalog.schema import SCHEMA_VERSION
from indexing.identity import point_id
from indexing.ingest import TextItem, add_texts, delete_document
from indexing.jobs import run_jobs
from indexing.records import Extraction
from indexing.session import Index
from tests.fakes.index_parts import fake_index, fake_settings


def send(index: Index, text: str, key: str | None, doc_id: str = "x", kind: str = "documents") -> None:
    """Queue and run the job that a request with this key leaves."""
    job_id = f"j{len(index.catalog.jobs('default', limit=100))}"
    name = "documents.jsonl" if kind == "documents" else f"{doc_id}.txt"
    path = index.settings.home / "uploads" / job_id / "0000" / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"_id": doc_id, "text": text}) + "\n" if kind == "documents" else text)
    at = str(path.relative_to(index.settings.home))
    payload = {"path": at} if kind == "documents" else {"files": [{"path": at, "name": name}]}
    index.catalog.create_job("default", kind, {**payload, "ingested_by": key}, total=1, job_id=job_id)
    run_jobs(index)
    assert index.catalog.job("default", job_id).state == "succeeded"


def by(index: Index, doc_id: str = "x") -> str | None:
    """What the catalogue says of a document; its window must say the same."""
    record = index.catalog.document("default", doc_id)
    (window,) = index.catalog.windows("default", [point_id("default", doc_id, record.version, 0)], 1)
    assert window is not None
    assert window.ingested_by == record.ingested_by
    return record.ingested_by


def test_each_version_belongs_to_the_key_that_brought_it(index: Index) -> None:
    send(index, "First text.", "alice")
    assert by(index) == "alice"
    send(index, "First text.", "mallory")  # the same content again is no news
    assert by(index) == "alice"
    send(index, "Other text.", "mallory")
    assert by(index) == "mallory"
    delete_document(index, "default", "x")
    send(index, "Other text.", "bob")
    assert by(index) == "bob"


def test_a_version_that_comes_back_while_it_retires_is_the_later_keys(index: Index) -> None:
    send(index, "Some text.", "alice")
    index.catalog.staging.forget_document("default", "x")  # its points are still there
    send(index, "Some text.", "bob")
    assert by(index) == "bob"


def test_files_too_and_the_command_line_has_no_key(index: Index) -> None:
    send(index, "A file of one sentence.", "alice", "a", kind="files")
    (record,) = index.catalog.documents("default")
    assert by(index, record.doc_id) == "alice"
    add_texts(index, [TextItem("text:b", Extraction(text="No key at all.", doc_id="b"), "text/plain")])
    assert by(index, "b") is None


def test_a_job_that_an_older_winnow_queued_names_no_key(index: Index) -> None:
    send(index, "From before.", None)
    assert by(index) is None


def test_a_catalogue_without_the_columns_gets_them_and_keeps_its_documents(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path / "home", read_workers=0)
    with fake_index(settings) as index:
        send(index, "From before the column.", "alice")
    with sqlite3.connect(settings.home / "catalog.db") as database:
        database.execute("ALTER TABLE documents DROP COLUMN ingested_by")
        database.execute("DROP INDEX documents_points")
        database.execute("ALTER TABLE documents DROP COLUMN points")
        database.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    for _ in range(2):  # the second start finds nothing to do
        catalog = open_catalog(settings)
        assert catalog.meta("schema_version") == str(SCHEMA_VERSION)
        assert catalog.document("default", "x").ingested_by is None
        assert catalog.text("default", "x") == "From before the column."
        record = catalog.document("default", "x")
        (window,) = catalog.windows("default", [point_id("default", "x", record.version, 0)], 0)
        assert window is not None
        assert window.sentence == "From before the column."
        catalog.close()
    with fake_index(settings) as index:
        send(index, "After it.", "bob")
        assert by(index) == "bob"
