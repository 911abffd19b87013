"""The document around a quote, in a real Chromium against the fake service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from tests.fakes.page_documents import QUESTION

if TYPE_CHECKING:
    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser"]
browser_test = pytest.mark.browser
WRAPPED = """When one or more parameters have a default value, the function
is said to have “default parameter values 𝛥”. They are evaluated pre-
cisely once, when the definition is executed.

   An indented note that goes on for longer than one line is also
   joined, and its indent goes.

def listing(argument):
    return argument

Item            2021    2020    and a long remark so that it is wide
Revenue         86.3    82.9    another remark

- a first item of a list that is about as long as the line allows
- a second item"""
JOINED = """When one or more parameters have a default value, the function \
is said to have “default parameter values 𝛥”. They are evaluated pre-\
cisely once, when the definition is executed.

   An indented note that goes on for longer than one line is also \
joined, and its indent goes.
"""


@browser_test
def test_hard_wrapped_paragraphs_are_joined_and_nothing_else(page: Page) -> None:
    page.open()
    items = page.driver.execute_async_script(
        "const [text, done] = arguments; import('/static/reflow.js').then(m => done(m.reflow(text)))", WRAPPED
    )
    assert len(items) == len(WRAPPED), "one item per code point, so that offsets hold"
    assert "".join(items).startswith(JOINED)
    after = WRAPPED.index("def listing")
    assert "".join(items[after:]) == WRAPPED[after:]


@browser_test
def test_a_citation_opens_the_reader_at_the_exact_quote(page: Page) -> None:
    page.ask(QUESTION)
    link = page.all(".answer-text .chip")[2]
    quoted = page.js("return arguments[0].parentElement.firstChild.data", link)
    link.click()
    page.one("#reader mark.quote")
    assert page.text("#reader mark.quote") == quoted
    assert page.text("#reader-title") == "Northwater: annual report 2021"
    page.wait_text("#reader .here", "Annual report 2021 > Risks > Water quality")
    assert "p.\u00a031" in page.text("#reader .here")
    assert page.focused() == "reader-title"
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#reader").is_displayed(), "the reader closes")
    assert page.js("return document.activeElement === arguments[0]", link), "the focus goes back"
    assert "#" not in page.driver.current_url


@browser_test
def test_a_long_document_is_read_in_slices_around_the_quote(page: Page) -> None:
    start, end = page.sentence("e5", "Day 1500:")
    page.open(f"#doc=e5&start={start}&end={end}")
    page.one("#reader mark.quote")
    assert page.text("#reader mark.quote") == page.slice("e5", start, end)
    page.wait_text("#reader .here", "Logbook > Year 5 · p.\u00a061")
    visible = "const q = document.querySelector('mark.quote').getBoundingClientRect(), "
    visible += "b = document.querySelector('#reader .body').getBoundingClientRect();"
    assert page.js(visible + "return q.top >= b.top && q.bottom <= b.bottom")
    shown = lambda: page.js("return document.querySelector('#reader .flow').textContent")  # noqa: E731
    assert shown() in page.server.state.documents["e5"].text
    assert len(shown()) < 20_000
    assert page.text("#reader .flow .marker") == "", "labels are not part of the text"
    before = len(shown())
    page.js("document.querySelector('#reader .body').scrollTop = 0")
    page.until(lambda: len(shown()) > before, "earlier text is loaded")
    assert shown() in page.server.state.documents["e5"].text, "slices join without a seam"
    before = len(shown())
    page.js("const b = document.querySelector('#reader .body'); b.scrollTop = b.scrollHeight")
    page.until(lambda: len(shown()) > before, "later text is loaded")
    assert shown() in page.server.state.documents["e5"].text
    listed = [path for _, path, _ in page.server.state.calls if "/sentences" in path]
    assert 0 < len(listed) <= 8, "the outline is found by interpolation, not read from the start"
    page.js("[...document.querySelectorAll('#reader .actions button')][0].click()")
    assert page.js(visible + "return q.top >= b.top && q.bottom <= b.bottom")
    sent = [path for _, path, _ in page.server.state.calls if path.startswith("/v1/documents/e5/text")]
    assert sent
    assert all("start=" in path and "end=" in path for path in sent)


@browser_test
def test_a_changed_document_is_pointed_out(page: Page) -> None:
    page.ask(QUESTION)
    start, _ = page.sentence("b2", "sink through a bed")
    item = page.server.state.documents["b2"]
    item.text = item.text[:start] + item.text[start:].upper()
    page.all(".answer-text .chip")[0].click()
    page.wait_text("#reader .notice", "changed since this answer")


@browser_test
def test_copying_a_citation_names_its_place(page: Page) -> None:
    start, end = page.sentence("a1", "Energy cost")
    page.open(f"#doc=a1&start={start}&end={end}")
    page.one("#reader mark.quote")
    page.js(
        "window.copied = null; Object.defineProperty(navigator, 'clipboard',"
        "{configurable: true, value: {writeText: async text => { window.copied = text; }}})"
    )
    page.js("[...document.querySelectorAll('#reader .actions button')][1].click()")
    page.wait_text("#reader .note", "Copied")
    assert page.js("return window.copied") == (
        f"“{page.slice('a1', start, end)}” — Northwater: annual report 2021, Annual report 2021 > "
        f"Income statement, p.\u00a012. file:///srv/docs/reports/northwater-2021.pdf [{start}–{end}]"
    )
