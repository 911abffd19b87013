"""The inspection view in a real Chromium: points, one of them whole, the map, both languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.page_server import Fault

if TYPE_CHECKING:
    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser"]
browser_test = pytest.mark.browser


def _documents(page: Page) -> set[str]:
    return set(page.js("return [...document.querySelectorAll('circle')].map((dot) => dot.dataset.id)"))


@browser_test
def test_a_point_is_shown_with_its_words_and_its_neighbours(page: Page) -> None:
    page.open()
    page.one("#nav-inspect").click()
    page.until(lambda: page.all(".point-row"), "points")
    assert page.driver.title == "Inspect – Winnow"
    assert page.one("#nav-inspect").get_attribute("aria-current") is not None
    total = sum(len(item.sentences) for item in page.server.state.documents.values())
    page.wait_text("#view-inspect .list-head", f"50 of {total:,}")
    page.wait_text("#view-inspect .point", "Choose a point")
    row = page.all(".point-row")[2]
    text, chosen = row.find_element("css selector", ".sentence").text, row.get_attribute("data-id")
    row.click()
    page.wait_text(".point blockquote", text)
    assert f"point={chosen}" in str(page.js("return location.search"))
    assert page.text(".point .around [aria-current]") == text
    assert page.all(".words tbody tr")[0].text.split()[0] in text.lower()
    assert "dimension 4000000000" in page.text(".words").replace(",", "")
    widths = page.js("return [...document.querySelectorAll('.words .fill')].map((one) => one.offsetWidth)")
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1] > 0
    assert "384" in page.text(".dense")
    assert "default" in page.text(".payload")
    assert [dot.get_attribute("data-id") for dot in page.all("circle.chosen")] == [chosen]
    # A neighbour, and back.
    before = page.all(".around button")[0]
    wanted = before.text
    before.click()
    page.wait_text(".point blockquote", wanted)
    page.driver.back()
    page.wait_text(".point blockquote", text)


@browser_test
def test_nothing_of_before_stays_when_it_is_opened_again(page: Page) -> None:
    page.open("?view=inspect")
    page.until(lambda: page.all(".point-row"), "points")
    gone = page.text(".point-row .sentence")
    for doc_id in list(page.server.state.documents)[:1]:
        del page.server.state.documents[doc_id]
    page.one("#nav-collection").click()
    page.wait_text("#view-collection h1", "Collection")
    assert page.text("#view-inspect") == ""
    page.one("#nav-inspect").click()
    page.until(lambda: page.all(".point-row"), "points again")
    assert page.text(".point-row .sentence") != gone


@browser_test
def test_the_map_and_the_list_are_narrowed_together(page: Page) -> None:
    page.open("?view=inspect")
    page.until(lambda: page.all("circle"), "the map")
    everything = _documents(page)
    assert "31%" in page.text(".map")
    assert len(page.all(".legend li")) > 1
    dot = page.all("circle")[1]
    page.js("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", dot)
    page.until(lambda: page.all(".point blockquote"), "the point of the dot")
    page.wait_text(".dense", "None")  # the second sentence has no dense vector
    page.all(".point .actions button")[0].click()
    page.until(lambda: _documents(page) < everything, "the map of one document")
    doc_id = str(page.js("return document.querySelector('.inspect-filter [name=doc]').value"))
    sentences = min(50, len(page.server.state.documents[doc_id].sentences))
    page.until(lambda: len(page.all(".point-row")) == sentences, "the sentences of the document")
    page.one(".inspect-filter [name=section]").send_keys("No such section", Keys.ENTER)
    page.wait_text(".points", "No point matches.")
    page.wait_text(".plane-holder", "No point here")
    page.one(".inspect-filter .quiet").click()
    page.until(lambda: _documents(page) == everything, "the whole map again")


@browser_test
def test_the_keyboard_reaches_points_and_the_document(page: Page) -> None:
    page.open("?view=inspect")
    page.until(lambda: len(page.all(".point-row")) > 3, "points")
    rows = page.all(".point-row")
    rows[0].send_keys("j")
    page.keys(Keys.ARROW_DOWN)
    page.keys("k")
    second = rows[1].get_attribute("data-id")
    assert page.js("return document.activeElement.dataset.id") == second
    page.keys(Keys.ENTER)
    page.until(lambda: page.all(".point blockquote"), "the point")
    assert f"point={second}" in str(page.js("return location.search"))
    page.one(".point .actions .button").send_keys(Keys.ENTER)
    page.one("#reader mark.quote")
    assert page.text("#reader mark.quote") == page.text(".point blockquote")
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#reader").is_displayed(), "the reader is closed")
    assert page.text(".point blockquote")


@browser_test
def test_it_speaks_both_languages_fits_a_narrow_screen_and_says_what_failed(page: Page) -> None:
    page.server.state.faults.append(Fault("GET", "/v1/inspect/map", 500))
    page.open("?view=inspect")
    page.wait_text(".plane-holder", "The service failed: made to fail")
    page.one(".plane-holder button").click()
    page.until(lambda: page.all("circle"), "the map after another try")
    page.all(".point-row")[0].click()
    page.until(lambda: page.all(".words"), "the point")
    page.one("#language").click()
    page.wait_text("#view-inspect h1", "检视")
    page.wait_text("#view-inspect .point", "载荷")
    page.resize(360, 800)
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    page.one("#language").click()
    page.js("localStorage.clear()")
    page.resize(1280, 900)
