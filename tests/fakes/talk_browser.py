"""A browser on the real service with a scripted model; fixtures for the tests of written answers.

A test module asks for it with ``pytest_plugins = ["tests.fakes.browser", "tests.fakes.talk_browser"]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.fakes.browser import Page
from tests.fakes.talk_server import HeldGenerator, TalkServer, cited


@pytest.fixture
def model() -> HeldGenerator:
    return HeldGenerator(cited)


@pytest.fixture
def talk(driver: webdriver.Chrome, tmp_path: Path, model: HeldGenerator) -> Iterator[Page]:
    server = TalkServer(tmp_path, model)
    driver.get_log("browser")
    page = Page(driver, server)  # type: ignore[arg-type]
    page.resize(1280, 900)
    yield page
    complaints = [
        entry["message"]
        for entry in driver.get_log("browser")
        if re.search(r"Uncaught|Error:|Content Security Policy", entry["message"])
    ]
    driver.get("about:blank")
    server.close()
    assert complaints == []


@pytest.fixture
def guarded(driver: webdriver.Chrome, tmp_path: Path, model: HeldGenerator) -> Iterator[Page]:
    """The page on a service with keys; a refused request is a line on the console, so none is looked at."""
    server = TalkServer(tmp_path, model, require_keys=True)
    page = Page(driver, server)  # type: ignore[arg-type]
    page.resize(1280, 900)
    yield page
    page.js("sessionStorage.clear(); localStorage.clear()")
    driver.get("about:blank")
    server.close()
    driver.get_log("browser")
