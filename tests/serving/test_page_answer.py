"""The page with a language model: a streamed answer, its citations and flaws, stopping it, its receipt."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from indexing.errors import GenerationUnavailableError
from retrieval.generation.prompts import NOT_IN_DOCUMENTS
from retrieval.generation.protocol import GenerationRequest
from tests.fakes.talk_server import QUESTION, HeldGenerator, answered, ask, cited, label_of, press, prompt_of

if TYPE_CHECKING:
    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser", "tests.fakes.talk_browser"]
pytestmark = pytest.mark.browser


def test_the_answer_is_shown_while_it_is_written_and_cited_when_it_is_done(
    talk: Page, model: HeldGenerator
) -> None:
    model.hold_at = 4
    talk.open()
    ask(talk)
    talk.wait_text("#answer .writing", "Open a file with")
    assert talk.text("#asked") == QUESTION
    assert talk.one("#question").get_attribute("value") == "", "the box is for the next question"
    assert "writing the answer" in talk.text("#status")
    assert talk.all("#results .result"), "the passages are there before the answer"
    assert talk.all("#answer .chip") == []
    model.hold_at = 7
    talk.wait_text("#answer .writing .chip", label_of(model.requests[0], "Open a file"))
    assert talk.all("#stop")[0].is_displayed(), "labels lead to their passages before the answer is done"
    assert "files" in talk.one("#answer .writing .chip").get_attribute("href")
    model.go.set()
    answered(talk)
    paragraphs = talk.js("return [...document.querySelectorAll('.answer-text p')].map(p => p.textContent)")
    assert [re.sub(r"\d", "N", text) for text in paragraphs] == [
        "Open a file with open N.",
        "A path may hold a slash N.",
    ]
    assert "check the citations" in talk.text(".provenance")
    chip = talk.all(".answer-text .chip")[0]
    ActionChains(talk.driver).move_to_element(chip).perform()
    talk.wait_text("#quote-card", "Open a file with open.")
    assert chip.get_attribute("aria-describedby") == "quote-card"
    ActionChains(talk.driver).move_to_element(talk.one("#asked")).perform()
    talk.until(lambda: not talk.all("#quote-card"), "the quote goes with the pointer")
    talk.js("arguments[0].focus()", chip)
    talk.wait_text("#quote-card", "Open a file with open.")
    talk.keys(Keys.ESCAPE)
    assert talk.all("#quote-card") == []
    talk.keys(Keys.ENTER)
    talk.one("#reader mark.quote")
    assert talk.text("#reader mark.quote") == "Open a file with open."
    assert talk.text("#reader-title") == "Files"
    talk.keys(Keys.ESCAPE)
    talk.until(lambda: not talk.one("#reader").is_displayed(), "the reader closes")
    assert talk.text(".answer-text").startswith("Open a file"), "the answer stays"
    assert len(model.requests) == 1


def test_what_does_not_hold_is_marked_in_words(talk: Page, model: HeldGenerator) -> None:
    model.reply = lambda request: (
        f"𝛥 Open a file with open [{label_of(request, 'Open a file')}]. "
        f"Files are made of cheese [{label_of(request, 'may hold a slash')}]. "
        "See elsewhere [77]. Close the file when you are done."
    )
    talk.open()
    ask(talk)
    answered(talk)
    flawed = (
        "return [...document.querySelectorAll('.flaw')].map(f => [f.textContent, f.nextSibling.textContent])"
    )
    found = [(re.sub(r"\d", "N", text), note) for text, note in talk.js(flawed)]
    assert found == [
        ("Files are made of cheese N.", "not supported by its source"),
        ("See elsewhere .", "no source given, named a passage that does not exist: [77]"),
        ("Close the file when you are done.", "no source given"),
    ]
    assert "places did not pass the check" in talk.text("#answer .flaws")


def test_stop_ends_the_answer_and_the_model(talk: Page, model: HeldGenerator) -> None:
    model.hold_at = 4
    talk.open()
    ask(talk)
    talk.wait_text("#answer .writing", "Open a file with")
    stop = talk.one("#stop")
    stopped = time.monotonic()
    stop.click()
    talk.until(lambda: model.left_at > stopped, "the model is let go", 5)
    assert model.left_at - stopped < 1.0, "a client that leaves closes the upstream request within 1 s"
    talk.wait_text("#status", "Stopped")
    assert "Open a file with" in talk.text("#answer .answer-text")
    assert "not kept in the conversation" in talk.text("#notices")
    assert talk.focused() == "question"
    model.hold_at = None
    ask(talk, "and a path with a slash")
    answered(talk)
    assert "Stopped before its end" in talk.text("#thread")


def test_the_receipt_has_the_counts_the_expansions_and_the_reranker(talk: Page, model: HeldGenerator) -> None:
    def reply(request: GenerationRequest) -> str | Exception:
        prompt = prompt_of(request)
        if "<passage" in prompt:
            return cited(request)
        if "RETRIEVE" in prompt:
            return "no idea"
        return "A file is opened with the function open. It is closed with close."

    model.reply = reply
    talk.open(hyde="true", classify="true")
    talk.wait_text("#active-filters", "search for an imagined answer too")
    ask(talk)
    answered(talk)
    usage = talk.text("#answer .usage")
    assert usage == (
        "scripted · 1,204 tokens read, 960 of them from the cache · 12 written"
        " · first after 212 ms · 14.3 tokens/s"
    )
    assert talk.text("#receipt .usage") == usage
    receipt = talk.text(".stages")
    assert "imagine an answer" in receipt
    assert talk.js("return document.querySelector('.stages ul.made li').textContent") == (
        "A file is opened with the function open. It is closed with close."
    )
    assert "student-v1" in receipt
    assert "it cannot read the script of 2 passages" in receipt
    assert "classify: the model replied" in talk.text("#notices"), "a step that failed is told"
    talk.js("document.querySelector('#result-1 .why summary').click()")
    talk.wait_text("#result-1 .explanation", "Reranker: student-v1. It stepped aside: it cannot read")


def test_what_a_model_writes_never_becomes_markup(talk: Page, model: HeldGenerator) -> None:
    evil = (
        '<img src=//evil.invalid/a.png onerror="window.hacked=1"> ![x](https://evil.invalid/b.png) '
        "<script>window.hacked=2</script> [go](javascript:window.hacked=3) https://evil.invalid/c"
    )
    model.reply = lambda request: f"{evil} Open a file with open [{label_of(request, 'Open a file')}]."
    talk.open()
    model.hold_at = 9
    ask(talk, f"how to open a file {evil}")
    talk.wait_text("#answer .writing", "img src=//evil.invalid/a.png")
    model.go.set()
    answered(talk)
    assert "(https://evil.invalid/b.png)" in talk.text("#answer .answer-text")
    talk.driver.refresh()
    talk.wait_text("#answer", "img src=//evil.invalid/a.png")
    assert talk.all("main img, main script, main svg") == []
    links = talk.js("return [...document.querySelectorAll('main a')].map(a => a.protocol + a.host)")
    assert set(links) == {talk.server.url.removesuffix("/").replace("//", "")}
    loaded = talk.js("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert loaded
    assert all(name.startswith(talk.server.url) for name in loaded)
    assert talk.js("return window.hacked === undefined")


def test_not_in_the_documents_is_an_answer(talk: Page, model: HeldGenerator) -> None:
    model.reply = NOT_IN_DOCUMENTS
    talk.open()
    ask(talk)
    answered(talk)
    assert NOT_IN_DOCUMENTS not in talk.text("#answer")
    assert talk.text("#answer .answer-text")
    assert "do not answer it" in talk.text(".provenance")
    assert talk.all("#results .result")


def test_quoting_without_the_model_and_a_model_that_is_away(talk: Page, model: HeldGenerator) -> None:
    talk.open()
    press(talk, "#toggle-filters")
    press(talk, "#model-options [name=quote]")
    talk.until(lambda: "quote=true" in talk.driver.current_url, "the choice is in the address")
    assert talk.one("#model-options [name=hyde]").get_attribute("disabled")
    press(talk, "#toggle-filters")
    ask(talk)
    answered(talk)
    assert model.requests == []
    assert talk.text(".provenance") == "Quoted from the documents"
    press(talk, "#active-filters .tag")
    talk.until(lambda: "quote=" not in talk.driver.current_url, "the choice is taken back")
    model.reply = GenerationUnavailableError("nobody there")
    ask(talk)
    talk.wait_text("#notices", "generate: nobody there")
    assert talk.text(".provenance") == "Quoted from the documents"


def test_a_screen_reader_hears_sentences_and_not_words(talk: Page, model: HeldGenerator) -> None:
    talk.open()
    talk.js(
        "window.heard = []; const region = document.querySelector('#spoken');"
        "new MutationObserver(all => all.forEach(m => m.addedNodes.forEach(n => heard.push(n.textContent))))"
        ".observe(region, {childList: true, subtree: true});"
    )
    ask(talk)
    answered(talk)
    heard = [re.sub(r"\s+", " ", text) for text in talk.js("return window.heard")]
    assert " ".join(heard) == "Open a file with open. A path may hold a slash."
    assert len(heard) <= 2
    assert talk.one("#spoken").get_attribute("aria-live") == "polite"
    assert talk.js("return document.querySelector('#answer').closest('[aria-live]')") is None
