"""Conversations on the page: follow-up questions, the list, opening, deleting, failures."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from indexing.errors import GenerationTimeoutError
from tests.fakes.talk_server import (
    COMPLETED,
    QUESTION,
    HeldGenerator,
    TalkServer,
    answered,
    ask,
    cited,
    press,
    prompt_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from selenium import webdriver

    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser", "tests.fakes.talk_browser"]
pytestmark = pytest.mark.browser
SECOND = "and may a path hold a slash"


def kept(page: Page) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{page.server.url}v1/conversations", timeout=10) as answer:
        return json.loads(answer.read())["conversations"]


def remove(page: Page, known: object) -> None:
    asked = urllib.request.Request(f"{page.server.url}v1/conversations/{known}", method="DELETE")
    urllib.request.urlopen(asked, timeout=10).close()


def follow_up(page: Page, question: str) -> None:
    ask(page, question)
    page.wait_text("#asked", question)
    answered(page)


def test_an_answer_without_citations_shows_no_empty_parts(talk: Page, model: HeldGenerator) -> None:
    model.reply = "NOT IN THE DOCUMENTS"
    talk.open()
    ask(talk)
    answered(talk)
    parts = talk.js("return [...document.querySelector('#answer').childNodes].map((one) => one.nodeName)")
    assert "#text" not in parts, "an absent part was written as a word"
    assert talk.all("#answer .cited, #answer .flaws") == []
    assert "null" not in talk.text("#answer")


def test_a_follow_up_goes_on_with_the_conversation(talk: Page, model: HeldGenerator) -> None:
    talk.open()
    ask(talk)
    answered(talk)
    talk.until(lambda: "c=" in talk.driver.current_url and "q=" not in talk.driver.current_url, "the address")
    assert talk.driver.title == f"{QUESTION} – Winnow"
    follow_up(talk, SECOND)
    assert talk.text("#thread h2") == QUESTION
    assert len(talk.all("#thread .chip")) == 2, "earlier citations stay"
    written = [request for request in model.requests if "<passage" in prompt_of(request)]
    assert written[1].messages[: len(written[0].messages)] == written[0].messages
    assert COMPLETED in talk.text(".stages"), "the completed question is shown"
    assert [(row["title"], row["turns"]) for row in kept(talk)] == [(QUESTION, 2)]
    press(talk, "#thread .chip")
    talk.one("#reader mark.quote")
    assert talk.text("#reader mark.quote") == "Open a file with open."
    talk.keys(Keys.ESCAPE)
    talk.driver.refresh()
    talk.wait_text("#asked", SECOND)
    assert [item.text for item in talk.all("#thread h2")] == [QUESTION], "the conversation is there again"
    assert len(model.requests) == 3, "nothing is asked again"
    follow_up(talk, "once more")
    assert len(talk.all("#thread .turn")) == 2
    assert kept(talk)[0]["turns"] == 3


def test_a_reopened_conversation_shows_what_its_answers_rest_on(talk: Page, model: HeldGenerator) -> None:
    model.reply = lambda request: (
        "Files are made of cheese [1]." if "<passage" in prompt_of(request) else COMPLETED
    )
    talk.open(hyde="true")
    ask(talk)
    answered(talk)
    follow_up(talk, SECOND)

    def shown() -> dict[str, object]:
        parts = ("#thread", "#answer", "#receipt", "#results", "#notices")
        return {css: talk.text(css) for css in parts} | {"flaws": len(talk.all(".flaw"))}

    before = shown()
    assert before["flaws"] == 2
    assert len(talk.all(".turn-passages li")) == 8, "an earlier answer has its passages too"
    talk.driver.refresh()
    talk.wait_text("#asked", SECOND)
    talk.one("#results .result")
    assert shown() == before
    assert talk.text("#status") == ""
    press(talk, ".turn-passages summary")
    press(talk, ".turn-passages a")
    talk.one("#reader mark.quote")
    assert talk.text("#reader mark.quote") == "Open a file with open."
    talk.keys(Keys.ESCAPE)
    press(talk, ".talks .button")
    talk.wait_text("#welcome", "documents")
    assert talk.all("#results .result") == []


def test_conversations_are_listed_opened_and_deleted(talk: Page) -> None:
    talk.open(q="how to open a file")
    answered(talk)
    talk.until(lambda: "q=" not in talk.driver.current_url, "a question in the address is asked and kept")
    press(talk, ".talks .button")
    talk.wait_text("#welcome", "documents")
    assert talk.text("#thread") == talk.text("#asked") == ""
    assert talk.focused() == "question"
    ask(talk, SECOND)
    answered(talk)
    press(talk, ".talk-list summary")
    talk.until(lambda: len(talk.all(".talk-list li")) == 2, "both are listed")
    assert talk.text(".talk-list li a[aria-current]") == SECOND
    press(talk, ".talk-list li a", 1)
    talk.wait_text("#asked", "how to open a file")
    assert "A path may hold" in talk.text("#answer")
    talk.driver.back()
    talk.wait_text("#asked", SECOND)
    press(talk, ".talk-list summary")
    talk.until(lambda: talk.text(".talk-list li a[aria-current]") == SECOND, "the list")
    press(talk, ".talk-list li button")
    assert SECOND in talk.one("#confirm").text
    talk.one("#confirm .danger").click()
    talk.until(lambda: len(kept(talk)) == 1, "it is deleted")
    talk.wait_text("#welcome", "documents")
    assert "c=" not in talk.driver.current_url
    gone = kept(talk)[0]["id"]
    remove(talk, gone)
    talk.open(c=str(gone))
    talk.wait_text("#notices", "has been deleted")


def test_a_conversation_that_went_meanwhile_can_be_begun_anew(talk: Page) -> None:
    talk.open()
    ask(talk)
    answered(talk)
    talk.until(lambda: "q=" not in talk.driver.current_url, "the first is kept")
    remove(talk, kept(talk)[0]["id"])
    ask(talk, SECOND)
    talk.wait_text("#notices", "has been deleted")
    talk.one("#notices button").click()
    talk.until(lambda: [row["turns"] for row in kept(talk)] == [1], "asked again in a new one")
    assert talk.text("#asked") == SECOND


def test_filters_are_for_the_next_question(talk: Page, model: HeldGenerator) -> None:
    talk.open()
    ask(talk)
    answered(talk)
    talk.until(lambda: "q=" not in talk.driver.current_url, "the first is kept")
    before = len(model.requests)
    box = talk.one("#question")
    box.send_keys("half a quest")
    press(talk, "#toggle-filters")
    press(talk, "#filters input[value=sparse]")
    talk.until(lambda: "mode=sparse" in talk.driver.current_url, "the filter is in the address")
    assert box.get_attribute("value") == "half a quest", "what is being typed stays"
    assert len(model.requests) == before
    box.send_keys("ion about a file", Keys.ENTER)
    talk.wait_text("#asked", "half a question about a file")
    answered(talk)
    assert talk.server.harness.searcher.requests[-1].mode == "sparse"


def test_failures_half_way_say_so_and_can_be_tried_again(
    driver: webdriver.Chrome, tmp_path: Path, talk: Page
) -> None:
    model = HeldGenerator(cited)
    model.failure, model.fail_after = GenerationTimeoutError("no word within 20 s"), 4
    server = TalkServer(tmp_path / "strict", model, generation={"fallback": "none"})
    ours, talk.server = talk.server, server  # type: ignore[assignment]
    try:
        talk.open()
        ask(talk)
        talk.wait_text("#notices [role=alert]", "longer than the service allows")
        assert "Open a file with" in talk.text("#answer")
        model.failure = None
        talk.one("#notices button").click()
        answered(talk)
        assert talk.text("#notices") == ""
        talk.driver.refresh()
        talk.wait_text("#answer", "Open a file with open")
    finally:
        driver.get("about:blank")
        server.close()
        talk.server = ours


def test_a_conversation_fits_a_narrow_screen_and_both_languages(talk: Page) -> None:
    talk.resize(360, 740)
    talk.open(hyde="true", multi_query="3")
    ask(talk, f"{QUESTION} {'x' * 80}")
    answered(talk)
    follow_up(talk, "打开文件用什么？")
    talk.js("for (const d of document.querySelectorAll('details')) d.open = true")
    talk.js("document.querySelector('#toggle-filters').click()")
    talk.one(".talk-list li a")
    fits = "return document.documentElement.scrollWidth <= innerWidth"
    assert talk.js(fits)
    assert talk.js("return document.querySelector('#asked').lang") == "zh-Hans"
    talk.js("document.querySelector('#language').click()")
    talk.wait_text(".provenance", "请核对引用")
    talk.wait_text(".talks .button", "新对话")
    assert talk.js(fits)
    talk.js("localStorage.clear()")
