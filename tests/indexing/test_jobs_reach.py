"""What a job may reach: files below the uploads folder, URLs of allowed hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexing.fetch.settings import FetchSettings
from indexing.jobs import run_jobs
from tests.fakes.index_parts import fake_index, fake_settings
from tests.fakes.web_server import web_server


@pytest.mark.parametrize("kind", ["files", "documents"])
@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/passwd", "uploads/../../secret.txt", "uploads/link.txt"]
)
def test_a_job_reads_nothing_outside_the_uploads(tmp_path: Path, kind: str, path: str) -> None:
    (tmp_path / "secret.txt").write_text("A secret.")
    with fake_index(fake_settings(tmp_path / "home")) as index:
        (tmp_path / "home" / "uploads").mkdir(parents=True)
        (tmp_path / "home" / "uploads" / "link.txt").symlink_to(tmp_path / "secret.txt")
        payload = {"files": [{"path": path, "name": "a.txt"}]} if kind == "files" else {"path": path}
        job = index.catalog.create_job("default", kind, payload, total=1, job_id="job")
        assert run_jobs(index) == 1
        ended = index.catalog.job("default", job.id)
        assert (ended.state, ended.error_kinds) == ("failed", ("input",))
        assert "not below the uploads folder" in ended.message
        assert index.catalog.count_documents("default") == 0


def test_a_job_of_urls_says_what_became_of_each(tmp_path: Path) -> None:
    with web_server() as web:
        base = f"http://127.0.0.1:{web.port}"
        web.pages["/bad.pdf"] = (200, {"content-type": "application/pdf"}, b"nothing")
        allowed = FetchSettings(
            allowed_hosts=(f"127.0.0.1:{web.port}",), private_networks=("127.0.0.0/8",), plain_http=True
        )
        settings = fake_settings(tmp_path / "home").model_copy(update={"fetch": allowed})
        with fake_index(settings) as index:
            urls = [f"{base}/page", f"{base}/bad.pdf", "https://evil.test/"]
            index.catalog.create_job("acme", "urls", {"urls": urls}, total=3, job_id="job")
            run_jobs(index)
            ended = index.catalog.job("acme", "job")
            kinds = dict(zip((uri for uri, _ in ended.errors), ended.error_kinds, strict=True))
            assert (ended.state, ended.done, ended.failed) == ("partial", 1, 2)
            assert kinds == {f"{base}/bad.pdf": "damaged-file", "https://evil.test/": "fetch-refused"}
            assert index.catalog.count_documents("acme") == 1
            assert index.catalog.count_documents("default") == 0


def test_with_fetching_off_a_queued_job_fetches_nothing(tmp_path: Path) -> None:
    """The setting may have changed since the job was queued."""
    with web_server() as web, fake_index(fake_settings(tmp_path / "home")) as index:
        urls = [f"http://127.0.0.1:{web.port}/page"]
        index.catalog.create_job("default", "urls", {"urls": urls}, total=1, job_id="job")
        run_jobs(index)
        assert index.catalog.job("default", "job").error_kinds == ("fetch-refused",)
        assert web.asked == []
