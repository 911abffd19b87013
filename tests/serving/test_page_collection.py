"""The collection view in a real Chromium: uploads, jobs, the list, deleting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.page_server import Fault

if TYPE_CHECKING:
    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser"]
browser_test = pytest.mark.browser


@browser_test
def test_uploads_show_progress_and_each_failure(page: Page, tmp_path: Path) -> None:
    (tmp_path / "pump.txt").write_text("The pump is primed by hand. It takes nine strokes.", encoding="utf-8")
    (tmp_path / "broken.bad").write_bytes(b"\x00\x01")
    (tmp_path / "阀门.txt").write_text("阀门每月检查一次。", encoding="utf-8")
    page.open("?view=collection")
    page.wait_text(".documents", "logbook.txt")
    files = [str(tmp_path / name) for name in ("pump.txt", "broken.bad", "阀门.txt")]
    page.one("#files").send_keys("\n".join(files))
    page.one(".job.running progress")
    page.one(".job.partial")
    assert "3 of 3 files, 3 sentences" in page.text(".job")
    assert "broken.bad the bytes are not what the suffix says" in page.text(".job details")
    page.wait_text(".documents", "阀门.txt")
    page.wait_text(".stats", "7")
    page.ask("How many strokes does the pump take?")
    assert "pump.txt" in page.text("#result-1")


@browser_test
def test_files_can_be_dropped_and_refused(page: Page) -> None:
    page.open("?view=collection")
    page.one(".drop")
    drop = "const data = new DataTransfer(); data.items.add(new File(['One valve.'], 'valve.txt'));"
    drop += "document.querySelector('.drop').dispatchEvent(new DragEvent('drop',"
    drop += "{dataTransfer: data, bubbles: true, cancelable: true}))"
    page.server.state.faults.append(Fault("POST", "/v1/documents", 413, detail="at most 256 MB"))
    page.js(drop)
    page.wait_text(".upload [role=alert]", "larger than the service accepts. at most 256 MB")
    page.js(drop)
    page.one(".job.succeeded")
    page.wait_text(".documents", "valve.txt")


@browser_test
def test_deleting_asks_first(page: Page) -> None:
    page.open("?view=collection")
    button = "tr[data-doc=b2] td.actions button"
    page.one(button).click()
    assert "10 sentences" in page.one("#confirm").text
    page.keys(Keys.ENTER)
    page.until(lambda: not page.all("#confirm[open]"), "Enter keeps the document")
    assert "b2" in page.server.state.documents
    page.one(button).click()
    page.one("#confirm .danger").click()
    page.until(lambda: not page.all("tr[data-doc=b2]"), "the row is gone")
    assert "b2" not in page.server.state.documents


@browser_test
def test_the_document_list_is_paged_and_filtered(page: Page) -> None:
    base = page.server.state.documents["d4"]
    for number in range(130):
        name = f"n{number:03}"
        copy = replace(base, doc_id=name, title=f"Note {number}", sources=[f"note-{number}.txt"])
        page.server.state.documents[name] = copy
    page.open("?view=collection")
    page.until(lambda: len(page.all(".documents tbody tr")) == 100, "a first page")
    page.one("#view-collection .more").click()
    page.until(lambda: len(page.all(".documents tbody tr")) == 135, "and the rest")
    page.one("#docs-filter").send_keys("note 12")
    page.until(lambda: len(page.all(".documents tbody tr")) == 11, "Note 12 and Note 120 to 129")
    page.all(".documents td.actions a")[0].click()
    page.wait_text("#active-filters", "In: Note 12")
