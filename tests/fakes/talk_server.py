"""The real service over the documents of ``tests.fakes.service`` on a port, its model scripted.

It runs on a loop and a thread of its own, so that a browser can be driven
against it.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selenium.webdriver.common.keys import Keys

from retrieval.generation.protocol import Chunk, GenerationRequest, Usage
from retrieval.records import Receipt, SearchRequest, SearchResponse, Stage
from serving.app import create_app
from serving.server import Server, uvicorn_config
from tests.fakes.listening import listening
from tests.fakes.scripted_generator import ScriptedGenerator
from tests.fakes.service import FakeSearcher, Harness, make_harness

if TYPE_CHECKING:
    from tests.fakes.browser import Page

PATIENCE_S = 20.0
COMPLETED = "May a path to a file hold a slash?"
QUESTION = "how to open a file and close it"
PASSAGE = re.compile(r"<passage (\d+)>\n(.*?)\n</passage", re.DOTALL)
RERANK = {
    "rerank": "on",
    "model": "student-v1",
    "kind": "cross-encoder",
    "stepped_aside": "2 passages",
    "candidates": 5,
}


def prompt_of(request: GenerationRequest) -> str:
    return "\n".join(message.content for message in request.messages)


def label_of(request: GenerationRequest, words: str) -> str:
    """The label of the passage that holds these words."""
    return next(label for label, text in PASSAGE.findall(prompt_of(request)) if words in text)


def cited(request: GenerationRequest) -> str:
    """Two sentences from two documents, each under its passage's label; one question where there are none."""
    if "<passage" not in prompt_of(request):
        return COMPLETED
    return (
        f"Open a file with open [{label_of(request, 'Open a file')}].\n\n"
        f"A path may hold a slash [{label_of(request, 'may hold a slash')}]."
    )


def ask(page: Page, question: str = QUESTION) -> None:
    page.one("#question").send_keys(question, Keys.ENTER)


def answered(page: Page) -> None:
    """Wait until the answer is complete."""
    page.one("#answer .provenance")
    page.until(lambda: not page.one("#stop").is_displayed(), "the answer ends")


def press(page: Page, css: str, number: int = 0) -> None:
    """Click an element where the top line and the box at the bottom do not cover it."""
    page.one(css)
    page.js("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", page.all(css)[number])


class HeldGenerator(ScriptedGenerator):
    """Streams word by word and waits before word number ``hold_at`` until it is let go."""

    def __init__(self, reply: str | Callable[[GenerationRequest], str | Exception | None] = "") -> None:
        super().__init__(reply)
        self.hold_at: int | None = None
        self.go = threading.Event()
        self.left_at = 0.0

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk]:
        word = 0
        try:
            async for chunk in super().stream(request):
                while word == self.hold_at and not self.go.is_set():
                    await asyncio.sleep(0.01)
                word += 1
                if chunk.usage is not None:
                    told = chunk.usage
                    usage = Usage(1204, told.completion_tokens, 960, 212.4, 14.26, "scripted")
                    chunk = replace(chunk, usage=usage)
                yield chunk
        finally:
            self.left_at = time.monotonic()


class RerankedSearcher(FakeSearcher):
    """The fake search with a receipt in which a reranker has run."""

    async def search(self, request: SearchRequest) -> SearchResponse:
        found = await super().search(request)
        stages = (*found.receipt.stages[:-1], Stage("rerank", 18.2, RERANK))
        return SearchResponse(found.results, Receipt(stages, found.receipt.degraded))


class TalkServer:
    """The service on a free port of this machine; ``model`` can be changed by a test."""

    def __init__(self, home: Path, model: HeldGenerator | None, **options: object) -> None:
        self.model = model
        self.harness: Harness
        self._options = options
        self._home = home
        self._stop = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        if not self._up.wait(PATIENCE_S):
            raise RuntimeError("the service did not start")

    async def _run(self) -> None:
        self.harness = made = await make_harness(self._home, generator=self.model, port=0, **self._options)
        searcher = RerankedSearcher(made.catalog, made.worker)
        made.service.searcher = made.searcher = searcher
        server = Server(uvicorn_config(made.settings, create_app(made.settings, made.service)))
        with suppress(TimeoutError):
            async with listening(server) as there:
                self.url = f"http://127.0.0.1:{there.port}/"
                self._up.set()
                while not self._stop.is_set():
                    await asyncio.sleep(0.02)
        await made.close()

    def close(self) -> None:
        if self.model is not None:
            self.model.go.set()
        self._stop.set()
        self._thread.join(PATIENCE_S)
