"""A real Chromium on the page, with waits instead of sleeps; fixtures for the page's tests.

A test module asks for it with ``pytest_plugins = ["tests.fakes.browser"]``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.fakes.page_server import PageServer

INSTALL = "apt-get update && apt-get install -y chromium chromium-driver fonts-noto-cjk"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage --lang=en-US"
)
TIMEOUT_S = 15


class Page:
    """The browser on the page, with waits instead of sleeps."""

    def __init__(self, driver: webdriver.Chrome, server: PageServer | None) -> None:
        self.driver = driver
        self.server = server

    def open(self, path: str = "", **search: str) -> None:
        self.driver.get("about:blank")
        address = path + (f"?{urlencode(search)}" if search else "")
        self.driver.get(self.server.url + address)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        return self.until(lambda: self.driver.find_element(By.CSS_SELECTOR, css), css)

    def until(self, look: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> object:
        ignored = (NoSuchElementException, StaleElementReferenceException)
        wait = WebDriverWait(self.driver, timeout_s, 0.05, ignored_exceptions=ignored)
        return wait.until(lambda _: look(), what)

    def text(self, css: str) -> str:
        return self.js("return document.querySelector(arguments[0])?.textContent ?? ''", css)

    def wait_text(self, css: str, wanted: str) -> None:
        self.until(lambda: wanted in self.text(css), f"{wanted!r} in {css}, which says {self.text(css)!r}")

    def js(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def keys(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        return str(self.js("return document.activeElement.id"))

    def ask(self, question: str, **filters: str) -> None:
        self.open(q=question, **filters)
        self.one("#results .result")

    def queries(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, path, body in self.server.state.calls if path == "/v1/query"]

    def sentence(self, doc_id: str, words: str) -> tuple[int, int]:
        item = self.server.state.documents[doc_id]
        return next((a, b) for a, b, *_ in item.sentences if words in item.text[a:b])

    def slice(self, doc_id: str, start: int, end: int) -> str:
        return self.server.state.documents[doc_id].text[start:end]


def _programs() -> tuple[str, str]:
    """Paths of Chromium and its driver; a machine without them fails, unless told to skip."""
    if os.environ.get("WINNOW_TEST_BROWSER") == "off":
        pytest.skip("WINNOW_TEST_BROWSER=off")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.fail(f"the page's tests need Chromium: {INSTALL}   (or set WINNOW_TEST_BROWSER=off)")
    return browser, driver


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, program = _programs()
    options = Options()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"intl.accept_languages": "en-US"})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(program))
    made.set_page_load_timeout(30)
    made.set_script_timeout(TIMEOUT_S)
    yield made
    made.quit()


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    server = PageServer()
    driver.get_log("browser")
    shown = Page(driver, server)
    shown.resize(1280, 900)
    yield shown
    complaints = [
        entry["message"]
        for entry in driver.get_log("browser")
        if re.search(r"Uncaught|Error:|Content Security Policy", entry["message"])
    ]
    server.close()
    assert complaints == []
