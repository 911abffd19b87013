"""The catalogue: texts, windows, states, jobs."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.catalog import open_catalog
from indexing.catalog.staging import AddDocument, BeginSource, FinishSource
from indexing.errors import CatalogError, NotFoundError
from indexing.identity import point_id
from indexing.parsing.prepare import BLOCK_CHARS, prepare
from indexing.records import Extraction, Heading, Sentence
from indexing.settings import IndexingSettings
from tests.fakes.index_parts import fake_settings

DIGEST = "1:sentence:2000"


def line_sentences(extraction, *, max_chars, unit):
    """One sentence per non-empty line."""
    sentences, start = [], 0
    for line in extraction.text.splitlines(keepends=True):
        body = line.strip()
        if body:
            at = start + line.index(body)
            page = 1 + sum(offset <= at for offset in extraction.pages[1:]) if extraction.pages else None
            section = [heading.text for heading in extraction.headings if heading.offset <= at]
            sentences.append(
                Sentence(len(sentences), at, at + len(body), body, section[-1] if section else "", page)
            )
        start += len(line)
    return sentences


def prepared(text, doc_id="d", **fields):
    return prepare(
        Extraction(text=text, doc_id=doc_id, **fields),
        doc_id="",
        media_type="text/plain",
        pipeline_version=1,
        settings=IndexingSettings(),
        split=line_sentences,
    )


def store(catalog, document, uri="file:a", tenant="default"):
    """Stage a document and make it live; returns its version."""
    refused = {}
    catalog.staging.mark_pending(tenant, [uri])
    catalog.staging.apply(
        tenant,
        [
            BeginSource(uri),
            AddDocument(uri, document, DIGEST),
            FinishSource(uri, "sha", 1, "text/plain", DIGEST),
        ],
        refused,
    )
    assert not refused
    lifecycle = catalog.lifecycle
    keys = {stored.key: stored.sentences for stored in lifecycle.to_embed()}
    lifecycle.record(keys, list(keys))
    lifecycle.commit_sources()
    return document.version


@pytest.fixture
def catalog(tmp_path):
    opened = open_catalog(fake_settings(tmp_path))
    yield opened
    opened.close()


def point(doc_id, version, ordinal):
    return point_id("default", doc_id, version, ordinal)


def long_text(lines):
    return "".join(f"Line {n} of a long text {'x' * (n % 37)}.\n\n" for n in range(lines))


def test_text_is_the_blocks_joined(catalog):
    text = "\n  \n" + long_text(3000) + "   tail without a line end"
    document = prepared(text)
    assert len(document.blocks) > 5
    assert max(len(block.text) for block in document.blocks) < 2 * BLOCK_CHARS
    store(catalog, document)
    assert catalog.text("default", "d") == text
    edges = [(0, 10), (7999, 16005), (len(text) - 5, None), (None, 3), (5, 5), (10**9, None)]
    for start, end in [*edges, (2**70, None), (2**63, 2**70), (3, 2**70), (2**70, 3)]:
        assert catalog.text("default", "d", start, end) == text[start or 0 : end]


def test_windows_are_exact_slices_across_blocks(catalog):
    text = long_text(3000)
    document = prepared(text, title="Long")
    version = store(catalog, document)
    sentences = line_sentences(Extraction(text=text), max_chars=0, unit="sentence")
    edges = [block.first_ordinal for block in document.blocks]
    ordinals = [0, 1, *edges, edges[1] - 1, len(sentences) - 1]
    wanted = [point("d", version, ordinal) for ordinal in ordinals]
    for size in (0, 1, 3, 200):
        for ordinal, window in zip(ordinals, catalog.windows("default", wanted, size), strict=True):
            assert (window.doc_id, window.version, window.ordinal) == ("d", version, ordinal)
            assert window.sentence == sentences[ordinal].text == text[slice(*window.span)]
            first, last = max(ordinal - size, 0), min(ordinal + size, len(sentences) - 1)
            assert (window.first, window.last) == (first, last)
            assert window.spans == tuple((s.start, s.end) for s in sentences[first : last + 1])
            assert window.text == text[window.start : window.end]
            assert (window.start, window.end) == (sentences[first].start, sentences[last].end)
            assert (window.title, window.source, window.sources) == ("Long", "file:a", ("file:a",))


def test_windows_of_what_is_not_live_are_none(catalog):
    version = store(catalog, prepared("One.\nTwo.\n"))
    places = [
        ("d", version, 0),
        ("d", "0" * 16, 0),
        ("other", version, 0),
        ("d", version, 2),
        ("d", version, 1),
    ]
    wanted = [point(*place) for place in places]
    found = catalog.windows("default", wanted, 1)
    assert [window is not None for window in found] == [True, False, False, False, True]
    assert catalog.windows("elsewhere", wanted[:1], 1) == [None], "the id of another tenant's sentence"
    assert catalog.windows("default", [], 1) == []
    catalog.staging.forget_document("default", "d")
    assert catalog.windows("default", wanted[:1], 1) == [None]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), max_size=60),
)
def test_blocks_partition_any_text(lines):
    text = "\n".join(lines * 3)
    document = prepared(text)
    assert "".join(block.text for block in document.blocks) == text
    assert sum(block.count for block in document.blocks) == document.sentences
    assert [block.start for block in document.blocks[1:]] == [block.end for block in document.blocks[:-1]]


def test_pages_and_sections_come_back(catalog):
    text = "Intro\nHead\nA.\nB.\nC.\n"
    fields = {"headings": (Heading(6, 1, "Head"),), "pages": (0, 14)}
    version = store(catalog, prepared(text, **fields))
    [window] = catalog.windows("default", [point("d", version, 3)], 2)
    assert (window.section, window.page) == ("Head", 2)
    assert catalog.windows("default", [point("d", version, 0)], 2)[0].section == ""
    assert window.pages == (1, 1, 2, 2)
    found = catalog.sentences("default", "d")
    assert [(s.text, s.section, s.page) for s in found] == [
        ("Intro", "", 1),
        ("Head", "Head", 1),
        ("A.", "Head", 1),
        ("B.", "Head", 2),
        ("C.", "Head", 2),
    ]


def test_half_a_surrogate_is_stored_as_one_character(catalog):
    store(catalog, prepared("bad \ud83d here.\n", title="t\udfff", metadata={"k": "\ud800"}))
    assert catalog.text("default", "d") == "bad \ufffd here.\n"
    record = catalog.document("default", "d")
    assert (record.title, record.metadata) == ("t\ufffd", {"k": "\ufffd"})


def test_documents_are_paged_by_id(catalog):
    for number in range(5):
        store(catalog, prepared(f"Text {number}.\n", doc_id=f"doc{number}"), uri=f"file:{number}")
    first = catalog.documents("default", limit=2)
    assert [record.doc_id for record in first] == ["doc0", "doc1"]
    rest = catalog.documents("default", after="doc1")
    assert [record.doc_id for record in rest] == ["doc2", "doc3", "doc4"]
    assert catalog.count_documents("default") == 5
    assert catalog.documents("elsewhere") == []
    with pytest.raises(NotFoundError, match="doc9"):
        catalog.document("default", "doc9")
    with pytest.raises(NotFoundError):
        catalog.text("elsewhere", "doc1")


def test_a_staged_version_is_not_seen_until_it_is_live(catalog):
    old = store(catalog, prepared("Old text.\n"))
    steps = [BeginSource("file:a"), AddDocument("file:a", prepared("New text.\n"), DIGEST)]
    catalog.staging.apply("default", steps, {})
    assert catalog.text("default", "d") == "Old text.\n"
    assert catalog.windows("default", [point("d", old, 0)], 0)[0].text == "Old text."
    (staged,) = [stored for stored in catalog.lifecycle.to_embed() if stored.state == "staged"]
    assert catalog.lifecycle.record({staged.key: 1}, [staged.key]) == 1
    assert catalog.text("default", "d") == "New text.\n"
    assert catalog.windows("default", [point("d", old, 0)], 0) == [None]
    assert [stored.version for stored in catalog.lifecycle.retiring()] == [old]


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path):
    open_catalog(fake_settings(tmp_path)).close()
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(CatalogError, match=r"newer Winnow.*pip install --upgrade"):
        open_catalog(fake_settings(tmp_path))


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "catalog.db").write_bytes(b"not a database " * 100)
    with pytest.raises(CatalogError, match="does not open"):
        open_catalog(fake_settings(tmp_path))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://h/x", "sqlite"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_other_databases_are_refused_by_name(tmp_path, url, why):
    settings = fake_settings(tmp_path).model_copy(
        update={"catalog": fake_settings(tmp_path).catalog.model_copy(update={"url": url})}
    )
    with pytest.raises(CatalogError, match=why):
        open_catalog(settings)


def test_nobody_waits_for_a_connection(catalog):
    """The event loop reads windows: it must not stand in line behind threads."""
    version = store(catalog, prepared("One.\nTwo.", "d"))
    with contextlib.ExitStack() as held:
        for _ in range(40):
            held.enter_context(catalog._engine.connect())
        assert catalog.windows("default", [point("d", version, 0)], 1)[0].text == "One.\nTwo."


def test_a_file_that_is_being_written_in_another_mode_is_waited_for(tmp_path):
    """SQLite refuses to change the mode of such a file at once, whatever the time-out."""
    path = fake_settings(tmp_path).home / "catalog.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE other (x)")
    writer.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, writer.commit).start()
    catalog = open_catalog(fake_settings(tmp_path))
    with catalog.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    catalog.close()
    writer.close()


def test_commits_are_synced_to_the_disk(catalog):
    with catalog._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_jobs_are_durable_and_belong_to_a_tenant(tmp_path):
    catalog = open_catalog(fake_settings(tmp_path))
    job = catalog.create_job("default", "files", {"files": []}, total=3)
    assert (job.state, job.total, job.done) == ("queued", 3, 0)
    assert catalog.create_job("default", "files", {}, job_id="mine").id == "mine"
    catalog.close()
    catalog = open_catalog(fake_settings(tmp_path))
    assert catalog.job("default", job.id) == job
    assert catalog.unfinished_jobs()
    assert [found.id for found in catalog.jobs("default")] == ["mine", job.id]
    with pytest.raises(NotFoundError):
        catalog.job("elsewhere", job.id)
    claimed, payload = catalog.job_table.claim()
    assert (claimed.id, payload) == (job.id, {"files": []})
    assert catalog.job_table.claim()[0].id == job.id, "a running job nobody holds is taken again"
    catalog.close()


def test_readers_and_a_writer_share_the_catalogue(catalog):
    """Windows are answered, whole, while versions are replaced."""
    versions = {store(catalog, prepared("Text 0.\n")): "Text 0."}
    faults, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            for version, text in list(versions.items()):
                window = catalog.windows("default", [point("d", version, 0)], 1)[0]
                if window is not None and window.text != text:
                    faults.append((version, window.text))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 15):
        document = prepared(f"Text {number}.\n")
        versions[document.version] = f"Text {number}."
        store(catalog, document)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert faults == []
    assert len(versions) == 15


def test_json_metadata_keeps_its_types(catalog):
    fields = {"year": 2021, "ratio": 0.5, "draft": True, "author": "Ada"}
    store(catalog, prepared("A.\n", metadata=fields))
    assert json.dumps(catalog.document("default", "d").metadata, sort_keys=True) == json.dumps(
        fields, sort_keys=True
    )
