"""The page in front of a service that asks for keys: entered once, kept in the tab, gone when refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from serving.access.keys import KeyStore
from serving.access.tokens import new_token
from tests.fakes.talk_server import QUESTION, answered, ask, press

if TYPE_CHECKING:
    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser", "tests.fakes.talk_browser"]
pytestmark = pytest.mark.browser
STORED = "return [JSON.stringify({...sessionStorage}), JSON.stringify({...localStorage}), document.cookie]"


@pytest.fixture
def store(guarded: Page) -> Iterator[KeyStore]:
    made = KeyStore(guarded.server.harness.settings.home)
    yield made
    made.close()


def enter(page: Page, key: str) -> None:
    page.until(lambda: page.one("#key-field").is_displayed(), "the dialog asks for a key")
    page.one("#key-field").send_keys(key, Keys.ENTER)


def kept(page: Page) -> dict[str, str]:
    session, local, cookies = page.js(STORED)
    assert "wnw_" not in local + cookies, "a key is kept in the tab and nowhere else"
    assert "wnw_" not in page.driver.current_url
    return json.loads(session)


def test_a_key_is_asked_for_once_and_sent_with_everything(guarded: Page, store: KeyStore) -> None:
    key = store.create("me", tenants=["default"], scopes=["read", "write"]).text()
    guarded.open()
    guarded.wait_text("#key-reason", "asks for an API key")
    assert guarded.one("#key-field").get_attribute("type") == "password"
    enter(guarded, f"Bearer {key}")
    guarded.wait_text("#welcome", "documents")
    assert kept(guarded) == {"winnow.key": key}
    assert guarded.text("#notices") == ""
    ask(guarded)
    answered(guarded)
    press(guarded, "#answer .chip")
    guarded.one("#reader mark.quote")
    guarded.keys(Keys.ESCAPE)
    guarded.driver.refresh()
    guarded.wait_text("#asked", QUESTION)
    assert not guarded.one("#key").is_displayed(), "the tab still has it"
    guarded.open(view="collection")
    guarded.one(".documents td.title")
    drop = (
        "const data = new DataTransfer(); data.items.add(new File(['A note.'], 'note.txt'));"
        "const field = document.querySelector('#files'); field.files = data.files;"
        "field.dispatchEvent(new Event('change'))"
    )
    guarded.js(drop)
    guarded.wait_text(".jobs", "0 of 1")
    assert not guarded.one("#key").is_displayed(), "an upload carries the key too"


def test_a_refused_key_is_forgotten_and_said(guarded: Page, store: KeyStore) -> None:
    token = store.create("me", tenants=["default"], scopes=["read", "write"])
    guarded.open()
    enter(guarded, new_token().text())
    guarded.wait_text("#key-reason", "was not accepted and has been forgotten")
    assert kept(guarded) == {}
    enter(guarded, "two words")
    guarded.wait_text("#key .problem", "one word")
    guarded.one("#key-field").clear()
    enter(guarded, token.text())
    guarded.wait_text("#welcome", "documents")
    ask(guarded)
    answered(guarded)
    store.revoke(token.id)
    ask(guarded, "and may a path hold a slash")
    guarded.wait_text("#key-reason", "was not accepted and has been forgotten")
    assert kept(guarded) == {}
    enter(guarded, store.create("next", tenants=["default"], scopes=["read", "write"]).text())
    guarded.wait_text("#asked", "and may a path hold a slash")
    answered(guarded)
    guarded.until(lambda: len(guarded.all("#thread .turn")) == 1, "the conversation goes on where it was")


def test_a_key_can_be_put_off_and_forgotten_in_both_languages(guarded: Page, store: KeyStore) -> None:
    guarded.open()
    guarded.until(lambda: guarded.one("#key-field").is_displayed(), "the dialog")
    guarded.one("#key .quiet").click()
    guarded.wait_text("#notices", "asks for an API key")
    guarded.one("#language").click()
    guarded.one("#show-key").click()
    guarded.wait_text("#key-reason", "此服务需要 API 密钥")
    assert guarded.text("#show-key") == "API 密钥"
    enter(guarded, store.create("me", tenants=["default"], scopes=["read"]).text())
    guarded.wait_text("#welcome", "句子")
    guarded.one("#show-key").click()
    guarded.one("#key .danger").click()
    guarded.wait_text("#key-reason", "此服务需要 API 密钥")
    assert kept(guarded) == {}


def test_a_key_that_may_only_read_asks_without_keeping(guarded: Page, store: KeyStore) -> None:
    guarded.open()
    enter(guarded, store.create("reader", tenants=["default"], scopes=["read"]).text())
    guarded.wait_text("#welcome", "documents")
    ask(guarded)
    answered(guarded)
    assert "Open a file with" in guarded.text("#answer")
    assert "q=" in guarded.driver.current_url, "nothing is kept, so the address keeps the question"
    assert guarded.server.harness.service.conversations.list("default") == []


def test_without_keys_the_page_says_nothing_of_them(talk: Page) -> None:
    talk.open()
    talk.wait_text("#welcome", "documents")
    assert not talk.one("#show-key").is_displayed()
    assert not talk.one("#key").is_displayed()
