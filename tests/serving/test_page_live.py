"""The page against the real service: an empty index, an upload, a question, the quote."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.processes import ServiceProcess

if TYPE_CHECKING:
    from selenium import webdriver

    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser"]

FILTER = """# Slow sand filters

## Cleaning

Clean the filter when the head loss 𝛥h reaches its limit. Scrape off the top two centimetres of sand.

## Ripening

A cleaned filter ripens for two days. Unripe water must not be supplied.
"""
BOOKS = "# 古籍修复手册\n\n## 虫蛀\n\n虫蛀的书叶先杀虫。虫洞从背面修补，补纸比虫洞大两毫米。\n"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The service over an empty home, on a free port."""
    with ServiceProcess(tmp_path / "home") as service:
        yield f"{service.url}/"


def _slice(address: str, hash_: str) -> str:
    """The document's text at the place that the page's address names, from the API."""
    doc, start, end = re.findall(r"=([^&]+)", hash_)
    url = f"{address}v1/documents/{doc}/text?start={start}&end={end}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.browser
def test_from_an_empty_index_to_a_quote(driver: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    from tests.fakes.browser import Page

    page: Page = Page(driver, None)
    page.resize(1280, 900)
    driver.get(address)
    page.wait_text("#welcome", "Nothing is indexed yet.")
    page.one("#welcome a").click()
    for name, text in (("filter.md", FILTER), ("古籍.md", BOOKS), ("broken.pdf", "not a pdf")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = [str(tmp_path / name) for name in ("filter.md", "古籍.md", "broken.pdf")]
    page.one("#files").send_keys("\n".join(names))
    page.until(lambda: page.all(".job.partial"), "the job ends", 60)
    assert "broken.pdf" in page.text(".job details")
    page.wait_text(".documents", "古籍修复手册")
    for question, quoted in (("When is the filter cleaned?", "𝛥h"), ("虫洞怎样修补？", "背面修补")):
        page.one("#nav-ask").click()
        page.js("document.querySelector('#question').value = ''")
        page.one("#question").send_keys(question, Keys.ENTER)
        page.until(lambda wanted=quoted: wanted in page.text("#answer"), f"{quoted!r} in the answer")
        chips = page.all(".answer-text p")
        next(line for line in chips if quoted in line.text).find_element("css selector", ".chip").click()
        page.one("#reader mark.quote")
        assert quoted in page.text("#reader mark.quote")
        assert page.text("#reader mark.quote") == _slice(address, str(page.js("return location.hash")))
        page.keys(Keys.ESCAPE)
    noise = [entry["message"] for entry in driver.get_log("browser")]
    assert [line for line in noise if re.search(r"Uncaught|Content Security Policy", line)] == []
