"""``python -m indexing URL``: refused before anything is opened unless the host is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexing.cli import main
from indexing.errors import FetchRefusedError
from indexing.ingest.report import IngestReport


@pytest.mark.parametrize("named", [None, '["docs.test"]'])
def test_a_url_that_is_not_allowed_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str | None
) -> None:
    if named is not None:
        monkeypatch.setenv("WINNOW_FETCH__ALLOWED_HOSTS", named)
    (tmp_path / "a.txt").write_text("Text.")
    home = tmp_path / "home"
    assert main([str(tmp_path / "a.txt"), "https://evil.test/a.html", "--home", str(home)]) == 1
    assert "fetch.allowed_hosts" in capsys.readouterr().err
    assert not (home / "collection").exists(), "nothing was indexed before the refusal"


def test_reports_of_two_runs_add_up() -> None:
    first = IngestReport(
        files=2, read=1, skipped={".png": 1, "hidden": 2}, failures=[("a", "x")], seconds=1.5
    )
    second = IngestReport(files=1, documents=3, skipped={".png": 4}, seconds=0.5)
    second.failed("https://b", "no", FetchRefusedError("no"))
    first.include(second)
    assert (first.files, first.read, first.documents, first.seconds) == (3, 1, 3, 2.0)
    assert first.skipped == {".png": 5, "hidden": 2}
    assert first.failures == [("a", "x"), ("https://b", "no")]
    assert first.kinds == {"https://b": "fetch-refused"}
