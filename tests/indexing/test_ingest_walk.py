"""Which files of a folder are read, and that the others are counted."""

from __future__ import annotations

import os

from indexing.ingest import add_paths


def test_skipped_files_are_counted_not_silent(index, docs):
    (docs / "a.txt").write_text("Read me.")
    (docs / ".hidden.txt").write_text("x")
    (docs / "photo.PNG").write_bytes(b"x")
    (docs / "README").write_text("x")
    (docs / "gone.txt").symlink_to(docs / "nowhere")
    os.mkfifo(docs / "pipe.txt")
    (docs / "loop").symlink_to(docs)
    report = add_paths(index, [docs])
    assert report.skipped == {
        "hidden": 1,
        ".png": 1,
        "no suffix": 1,
        "broken link": 1,
        "special file": 1,
        "folder seen before, or the index itself": 1,
    }
    assert (report.files, report.failures) == (1, [])


def test_the_index_does_not_index_itself(index, docs, tmp_path):
    (docs / "a.txt").write_text("Read me.")
    (tmp_path / "home" / "uploads").mkdir()
    (tmp_path / "home" / "uploads" / "b.txt").write_text("Not me.")
    report = add_paths(index, [tmp_path])
    assert (report.files, report.skipped) == (1, {"folder seen before, or the index itself": 1})


def test_a_file_named_itself_is_never_skipped(index, docs):
    (docs / "photo.png").write_bytes(b"x")
    ((source, reason),) = add_paths(index, [docs / "photo.png"]).failures
    assert source.endswith("photo.png")
    assert "png" in reason


def test_a_file_name_that_is_no_unicode_is_indexed_and_pruned(index, docs):
    path = os.path.join(os.fsencode(docs), b"caf\xe9.txt")
    with open(path, "wb") as stream:
        stream.write(b"Strange name.")
    add_paths(index, [docs])
    (record,) = index.catalog.documents("default")
    assert record.sources[0].startswith("file:")
    assert record.sources[0].endswith("caf%E9.txt")
    assert add_paths(index, [docs], prune=True).removed_sources == 0
    os.unlink(path)
    assert add_paths(index, [docs], prune=True).removed_sources == 1
    assert index.catalog.documents("default") == []
