"""Asking, reading and explaining in a real Chromium, against the fake service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.fakes.page_documents import EVIL_TEXT, EVIL_TITLE, QUESTION
from tests.fakes.page_server import PAGE, Fault

if TYPE_CHECKING:
    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser"]
browser_test = pytest.mark.browser
CHINESE = "虫蛀的书叶怎样修补？"


@browser_test
def test_a_question_gives_a_quoted_answer_and_ranked_passages(page: Page) -> None:
    page.open()
    assert page.focused() == "question"
    page.wait_text("#welcome", "5 documents")
    page.keys(QUESTION, Keys.ENTER)
    page.one("#results .result")
    assert page.queries() == [{"query": QUESTION}]
    quotes = page.js("return [...document.querySelectorAll('.answer-text p')].map(p => p.firstChild.data)")
    assert len(quotes) == 3
    assert all(any(quoted in item.text for item in page.server.state.documents.values()) for quoted in quotes)
    assert "no language model configured" in page.text(".provenance")
    assert [chip.text for chip in page.all(".answer-text .chip")] == ["1", "2", "3"]
    assert page.text("#status").startswith("8 passages in ")
    assert page.driver.title == f"{QUESTION} – Winnow"
    of_a_model = "#talks, #thread, #model-options, #stop, #asked"
    assert [part.is_displayed() for part in page.all(of_a_model)] == [False] * 5, "there is no model"
    assert "/v1/conversations" not in {path for _, path, _ in page.server.state.calls}
    first = page.text("#result-1")
    assert "Operating a slow sand filter" in first
    assert "What the filter does" in first
    assert "slow-sand.md" in first


@browser_test
def test_highlights_count_code_points_as_the_service_does(page: Page) -> None:
    page.ask("head loss on day 7", doc="e5")
    marks = page.js("return [...document.querySelectorAll('#results mark')].map(m => m.textContent)")
    logbook = page.server.state.documents["e5"]
    sentences = [logbook.text[start:end] for start, end, *_ in logbook.sentences]
    assert marks
    assert set(marks) <= set(sentences)
    assert any("𝛥" in mark for mark in marks)


@browser_test
def test_everything_is_reached_by_keyboard(page: Page) -> None:
    page.open()
    page.keys(QUESTION, Keys.ENTER)
    page.one("#results .result")
    page.keys(Keys.ARROW_DOWN)
    assert page.focused() == "result-1"
    page.keys("j")
    page.keys("j")
    page.keys("k")
    assert page.focused() == "result-2"
    page.keys("e")
    page.one("#result-2 .explanation")
    page.keys("o")
    page.one("#reader mark.quote")
    page.keys(Keys.ESCAPE)
    page.until(lambda: page.focused() == "result-2", "the focus is back on the passage")
    page.keys(Keys.ENTER)
    page.one("#reader mark.quote")
    page.keys(Keys.ESCAPE)
    page.keys("3")
    page.wait_text("#reader-title", "Northwater")
    page.keys(Keys.ESCAPE)
    page.keys("?")
    page.one("#keys[open]")
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.all("#keys[open]"), "the list of keys closes")
    page.keys("/")
    assert page.focused() == "question"
    page.keys("j?")
    assert page.one("#question").get_attribute("value") == "j?", "typing in the box is only typing"


@browser_test
def test_what_is_typed_while_the_page_loads_stays(page: Page) -> None:
    page.server.state.delay_s = 0.3  # of /v1/collection too
    page.open()
    page.one("#question").send_keys("half a quest")
    page.wait_text("#welcome", "5 documents")
    page.one("#question").send_keys("ion")
    assert page.one("#question").get_attribute("value") == "half a question"


@browser_test
def test_enter_that_confirms_an_input_method_does_not_ask(page: Page) -> None:
    page.open()
    page.one("#question").send_keys("chong zhu")
    press = "document.querySelector('#question').dispatchEvent(new KeyboardEvent('keydown',"
    press += "{key: 'Enter', bubbles: true, cancelable: true, isComposing: arguments[0]}))"
    page.js(press, True)
    assert page.queries() == []
    assert "q=" not in page.driver.current_url
    page.js(press, False)
    page.until(lambda: len(page.queries()) == 1, "the question is asked")


@browser_test
def test_the_explanation_shows_every_stage(page: Page) -> None:
    page.ask(QUESTION)
    page.one("#result-2 .why summary").click()
    page.one("#result-2 .explanation")
    rows = page.js(
        "return [...document.querySelectorAll('#result-2 tbody tr')]"
        ".map(row => [...row.cells].slice(0, 2).map(cell => cell.textContent))"
    )
    assert rows == [["dense", "6"], ["sparse", "2"], ["fused", "3"], ["reranked", "2"]]
    assert "The reranker moved it up from 3 to 2." in page.text("#result-2 .explanation")
    widths = page.js("return [...document.querySelectorAll('#result-2 .fill')].map(f => f.style.width)")
    assert len(widths) == 4
    assert all(width.endswith("%") for width in widths)
    page.one("#receipt summary").click()
    receipt = page.text(".stages")
    assert "fuse the two sides" in receipt
    assert "weights dense" in receipt
    assert "18 ms" in receipt
    page.ask(CHINESE, rerank="false")
    page.one("#result-1 .why summary").click()
    explained = page.text("#result-1 .explanation")
    assert "dense side did not have it" in explained
    assert explained.count("not run") == 2
    assert "No reranking: the request turned it off." in explained
    page.one("#receipt summary").click()
    assert "0.00 of the query: the dense side is skipped" in page.text(".stages")


@browser_test
def test_degraded_and_empty_answers_say_so(page: Page) -> None:
    page.server.state.degraded = ["rerank: not done within 2 s"]
    page.ask(QUESTION)
    assert "rerank: not done within 2 s" in page.text("#notices")
    page.server.state.degraded = []
    page.open(q="zzzz", section="Nowhere")
    page.wait_text("#notices", "No passage matches.")
    page.one("#notices .nothing button").click()
    page.until(lambda: "section" not in page.driver.current_url, "the filters are removed")


@browser_test
def test_the_language_is_switched_and_remembered(page: Page) -> None:
    page.ask(QUESTION)
    page.one("#language").click()
    page.wait_text(".provenance", "未配置语言模型")
    assert page.js("return document.documentElement.lang") == "zh-Hans"
    page.open(q=CHINESE)
    page.wait_text("#status", "毫秒")
    assert page.one("#ask .primary").text == "提问"
    assert page.js("return document.querySelector('.passage').lang") == "zh-Hans"
    page.one("#language").click()
    page.wait_text("#status", "passages in")
    page.js("localStorage.clear()")


@browser_test
def test_both_languages_have_every_word(page: Page) -> None:
    page.open()
    words = page.driver.execute_async_script(
        "const done = arguments[0]; import('/static/i18n.js').then(m => done(m.languages))"
    )
    assert sorted(words["en"]) == sorted(words["zh"])
    holes = re.compile(r"{\w+}")
    for key, english in words["en"].items():
        assert set(holes.findall(english)) == set(holes.findall(words["zh"][key])), key
    used = set()
    for file in [*PAGE.glob("*.js"), PAGE / "index.html"]:
        used |= set(re.findall(r"\bt\(\"([\w.]+)\"", file.read_text()))
        used |= set(re.findall(r"data-i18n(?:-\w+)?=\"([\w.]+)\"", file.read_text()))
    assert len(used) > 40
    assert used <= set(words["en"])


@browser_test
def test_document_text_never_becomes_markup(page: Page) -> None:
    page.ask("Is sand washed before use?")
    assert EVIL_TITLE in page.text("#results")
    assert "<img src=" in page.text("#results")
    assert page.all("main img, main b, main script, #reader img") == []
    start, _ = page.sentence("d4", "washed")
    page.open(f"#doc=d4&start={start}&end={len(EVIL_TEXT)}")
    page.one("#reader mark.quote")
    assert page.text("#reader-title") == EVIL_TITLE
    page.open("?view=collection")
    page.wait_text(".documents", EVIL_TITLE)
    page.open(q="<img src=x onerror=\"window.hacked='q'\">", section="<b>x</b>", doc="<i>")
    page.wait_text("#notices", "No passage")
    assert page.all("main img, main b, main i") == []
    assert page.js("return window.hacked === undefined")


@browser_test
def test_the_address_holds_the_state(page: Page) -> None:
    page.ask(QUESTION, mode="sparse", section="Operating a slow sand filter", top_n="2")
    assert page.queries()[-1] == {
        "query": QUESTION,
        "mode": "sparse",
        "top_n": 2,
        "filter": {"section": {"prefix": "Operating a slow sand filter"}},
    }
    assert len(page.all(".result")) == 2
    box = page.one("#question")
    box.clear()
    box.send_keys("What did energy cost?", Keys.ENTER)
    page.until(lambda: "energy" in page.driver.current_url, "the new question is in the address")
    assert "mode=sparse" in page.driver.current_url, "the filters stay"
    page.until(lambda: len(page.queries()) == 2, "the second question is asked")
    page.driver.back()
    page.wait_text("#results", "When to clean")
    assert page.one("#question").get_attribute("value") == QUESTION
    assert len(page.queries()) == 2, "going back does not ask again"
    page.one("#active-filters .tag").click()
    page.until(lambda: "mode=" not in page.driver.current_url, "a filter is removed by its tag")
    page.one("#toggle-filters").click()
    page.one("#filters input[value=dense]").click()
    page.until(lambda: "mode=dense" in page.driver.current_url, "a chosen filter is in the address")
    page.one("#view-ask:not([aria-busy])")
    page.all(".result a.open")[0].click()
    page.one("#reader mark.quote")
    shared = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(shared)
    page.one("#reader mark.quote")
    page.one("#results .result")
    page.driver.find_element(By.CSS_SELECTOR, "#nav-collection").click()
    page.wait_text("#view-collection", "all-MiniLM-L6-v2")
    page.driver.back()
    page.one("#results .result")


@browser_test
def test_nothing_scrolls_sideways_at_360_pixels(page: Page) -> None:
    page.resize(360, 740)
    fits = "return document.documentElement.scrollWidth <= innerWidth"
    page.ask(QUESTION)
    page.js("for (const d of document.querySelectorAll('details')) d.open = true")
    page.js("document.querySelector('#toggle-filters').click()")
    page.one(".explanation")
    assert page.js(fits)
    page.all(".answer-text .chip")[0].click()
    page.one("#reader mark.quote")
    measure = "const r = document.querySelector('#reader').getBoundingClientRect();"
    box = page.js(measure + "return [r.x, r.y, r.width, r.height]")
    assert box == [0, 0, 360, 740], "the reader covers a narrow screen"
    assert page.js("return document.querySelector('#main').inert")
    assert page.js("const b = document.querySelector('#reader .body'); return b.scrollWidth <= b.clientWidth")
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.js("return document.querySelector('#main').inert"), "usable again")
    page.open("?view=collection")
    page.wait_text(".documents", "logbook.txt")
    assert page.js(fits)


@browser_test
def test_a_busy_service_is_asked_again_when_it_said(page: Page) -> None:
    page.server.state.faults.append(Fault("POST", "/v1/query", 429, {"Retry-After": "1"}))
    page.open(q=QUESTION)
    page.wait_text("#notices [role=alert]", "The service is busy.")
    assert "Trying again in 1 s." in page.text("#notices")
    page.one("#results .result")
    assert page.text("#notices") == ""
    assert len(page.queries()) == 2


@browser_test
def test_failures_say_what_happened_and_what_to_do(page: Page) -> None:
    page.server.state.faults.append(Fault("POST", "/v1/query", 503, detail="run python -m indexing rebuild"))
    page.open(q=QUESTION)
    page.wait_text("#notices", "cannot answer now: run python -m indexing rebuild")
    page.one("#notices button").click()
    page.one("#results .result")
    page.open("#doc=gone&start=0&end=3")
    page.wait_text("#reader", "not in the index")
    page.open()
    page.wait_text("#welcome", "documents")
    page.server.close()
    page.one("#question").send_keys("Anyone there?", Keys.ENTER)
    page.wait_text("#notices", "Is the service running? Start it with python -m serving.")
