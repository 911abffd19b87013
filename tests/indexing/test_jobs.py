"""Background jobs: uploads, documents, deletions, restarts."""

from __future__ import annotations

import json
import signal

import pytest

from indexing.jobs import run_jobs
from tests.fakes.forked import forked
from tests.fakes.index_parts import fake_index, fake_settings
from tests.fakes.killed_ingest import work_off


@pytest.fixture
def settings(tmp_path):
    return fake_settings(tmp_path / "home", read_workers=0, batch_sentences=4)


@pytest.fixture
def index(settings):
    opened = fake_index(settings)
    yield opened
    opened.close()


def upload(index, files, job_id="j1", kind="files"):
    """Store files the way the service does and queue their job."""
    entries = []
    for number, (name, data) in enumerate(files):
        path = index.settings.home / "uploads" / job_id / f"{number:04d}" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        entries.append({"path": str(path.relative_to(index.settings.home)), "name": name})
    payload = {"files": entries} if kind == "files" else {"path": entries[0]["path"]}
    return index.catalog.create_job("default", kind, payload, total=len(files), job_id=job_id)


def lines(*documents):
    return "".join(json.dumps(document) + "\n" for document in documents).encode()


def test_uploads_become_documents_named_after_their_files(index):
    upload(index, [("a.txt", b"First file. Two sentences."), ("b.md", b"# Head\n\nSecond.")])
    assert run_jobs(index) == 1
    job = index.catalog.job("default", "j1")
    assert (job.state, job.total, job.done, job.failed, job.errors) == ("succeeded", 2, 2, 0, ())
    assert job.sentences == sum(d.sentences for d in index.catalog.documents("default")) == 4
    assert {d.sources for d in index.catalog.documents("default")} == {("upload:a.txt",), ("upload:b.md",)}
    assert not (index.settings.home / "uploads" / "j1").exists()
    assert run_jobs(index) == 0


def test_a_bad_file_makes_the_job_partial_and_keeps_its_bytes(index):
    upload(index, [("a.txt", b"Good."), ("b.json", b"{")])
    run_jobs(index)
    job = index.catalog.job("default", "j1")
    assert (job.state, job.done, job.failed) == ("partial", 1, 1)
    assert job.errors[0][0] == "upload:b.json"
    assert job.errors[0][1]
    assert (index.settings.home / "uploads" / "j1").exists()
    upload(index, [("c.json", b"{")], job_id="j2")
    run_jobs(index)
    assert index.catalog.job("default", "j2").state == "failed"


def test_a_file_of_the_same_name_replaces_the_earlier_upload(index):
    upload(index, [("a.txt", b"First try.")], job_id="j1")
    upload(index, [("a.txt", b"Second try.")], job_id="j2")
    assert run_jobs(index) == 2
    (record,) = index.catalog.documents("default")
    assert index.catalog.text("default", record.doc_id) == "Second try."


def test_two_files_of_one_name_in_one_upload_stay_two(index):
    upload(index, [("a.txt", b"One."), ("a.txt", b"Another.")])
    run_jobs(index)
    assert {d.sources[0] for d in index.catalog.documents("default")} == {"upload:a.txt", "upload:a.txt#2"}


def test_documents_replace_each_other_by_id(index):
    body = lines({"_id": "x", "title": "T", "text": "Old x."}, {"_id": "y", "text": "Y stays.", "k": 1})
    upload(index, [("documents.jsonl", body)], kind="documents")
    run_jobs(index)
    upload(index, [("documents.jsonl", lines({"_id": "x", "text": "New x."}))], kind="documents", job_id="j2")
    run_jobs(index)
    assert index.catalog.text("default", "x") == "New x."
    assert index.catalog.document("default", "y").metadata == {"k": 1}
    assert index.catalog.document("default", "y").sources == ("document:y",)
    assert [job.state for job in index.catalog.jobs("default")] == ["succeeded", "succeeded"]


def test_deletions_are_jobs_too_and_may_come_twice(index):
    upload(index, [("documents.jsonl", lines({"_id": "x", "text": "X."}))], kind="documents")
    index.catalog.create_job("default", "delete", {"doc_id": "x"}, job_id="d1")
    index.catalog.create_job("default", "delete", {"doc_id": "x"}, job_id="d2")
    assert run_jobs(index) == 3
    assert index.catalog.count_documents("default") == 0
    assert {job.state for job in index.catalog.jobs("default")} == {"succeeded"}


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("files", {"files": [{"path": "../../etc/passwd", "name": "passwd"}]}, "not below the uploads"),
        ("files", {"files": []}, "names no file"),
        ("files", {}, "KeyError"),
        ("dance", {}, "not known"),
        ("documents", {"path": "uploads/none/documents.jsonl"}, "documents.jsonl"),
    ],
)
def test_a_job_that_makes_no_sense_fails_and_the_next_one_runs(index, kind, payload, reason):
    index.catalog.create_job("default", kind, payload, job_id="bad")
    upload(index, [("a.txt", b"Fine.")])
    assert run_jobs(index) == 2
    bad = index.catalog.job("default", "bad")
    assert bad.state == "failed"
    assert reason in bad.message
    assert index.catalog.job("default", "j1").state == "succeeded"


@pytest.mark.parametrize("point", ["job-claimed", "batch-staged", "upserted", "recorded", "job-ended"])
def test_a_killed_job_is_taken_up_again(settings, point):
    with fake_index(settings) as index:
        body = " ".join(f"Sentence number {n} of this file." for n in range(11)).encode()
        upload(index, [("a.txt", body), ("b.txt", b"Short.")])
    killed = forked(work_off, settings, point, 1)
    killed.join(30)
    assert killed.exitcode == -signal.SIGKILL
    with fake_index(settings) as index:
        finished = point == "job-ended"
        assert index.catalog.job("default", "j1").state == ("succeeded" if finished else "running")
        assert run_jobs(index) == (0 if finished else 1)
        job = index.catalog.job("default", "j1")
        assert (job.state, job.done, job.sentences) == ("succeeded", 2, 12)
        assert len(list(index.collection.points())) == 12
