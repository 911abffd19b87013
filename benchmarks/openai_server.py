"""An OpenAI-compatible server on a real socket, with faults on request.

It answers a chat with the last user message's words, one a token, and counts
cached tokens as vLLM does: whole blocks of a prefix that came before with the
same salt.  Each request is recorded with how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

BLOCK = 4  # tokens; vLLM's CPU build has 128
MODEL = "fake-model"


def words(text: str) -> list[str]:
    return text.split()


@dataclass
class Call:
    body: dict[str, Any]
    ended: str = "running"  # "done" or "left"
    sent: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeOpenAI:
    """Set ``fault`` between requests; see ``_stream`` for the names it knows."""

    fault: str = ""
    token_delay_s: float = 0.0
    reply: Callable[[dict[str, Any]], str] | None = None
    calls: list[Call] = field(default_factory=list)
    cached: set[tuple[str, ...]] = field(default_factory=set)
    url: str = ""

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/v1/models", self._models, methods=["GET"])
        app.add_api_route("/tokenize", self._tokenize, methods=["POST"])
        app.add_api_route("/v1/chat/completions", self._chat, methods=["POST"])
        return app

    async def _models(self) -> JSONResponse:
        if self.fault == "no-models":
            return JSONResponse({"data": []})
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _tokenize(self, request: Request) -> JSONResponse:
        if self.fault == "no-tokenize":
            return JSONResponse({"detail": "Not Found"}, 404)
        if self.fault == "garbled-tokenize":
            return JSONResponse({"tokens": "many"})
        tokens = words((await request.json())["prompt"])
        return JSONResponse({"count": len(tokens), "tokens": list(range(len(tokens)))})

    async def _chat(self, request: Request) -> Any:
        body = await request.json()
        call = Call(body, headers=dict(request.headers))
        self.calls.append(call)
        if self.fault.isdigit():
            call.ended = "done"
            return JSONResponse({"error": {"message": "no"}}, int(self.fault))
        if self.fault == "not-a-stream":
            return PlainTextResponse("hello")
        answer = self._reply(body)
        if not body.get("stream"):
            call.ended = "done"
            message = {"role": "assistant", "content": answer}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return JSONResponse({"choices": [choice], "usage": self._usage(body, answer)})
        return StreamingResponse(self._stream(call, answer), media_type="text/event-stream")

    def _reply(self, body: dict[str, Any]) -> str:
        return self.reply(body) if self.reply is not None else body["messages"][-1]["content"]

    async def _stream(self, call: Call, answer: str) -> AsyncIterator[str]:
        try:
            if self.fault == "silent":
                await asyncio.sleep(60)
            for position, word in enumerate(words(answer)):
                if position == 2 and self.fault:
                    if self.fault == "cut":
                        return
                    if self.fault == "garbled":
                        yield "data: {not json\n\n"
                    if self.fault == "error-event":
                        yield 'data: {"error": {"message": "out of memory"}}\n\n'
                    if self.fault == "stall":
                        await asyncio.sleep(60)
                text = word if position == 0 else f" {word}"
                call.sent += 1
                yield _event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
                await asyncio.sleep(self.token_delay_s)
            yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            yield _event({"choices": [], "usage": self._usage(call.body, answer)})
            yield "data: [DONE]\n\n"
            call.ended = "done"
        finally:
            if call.ended != "done":
                call.ended = "left"

    def _usage(self, body: dict[str, Any], answer: str) -> dict[str, Any]:
        prompt = [word for message in body["messages"] for word in words(message["content"])]
        salt = body.get("cache_salt", "")
        cached = 0
        for end in range(BLOCK, len(prompt) + 1, BLOCK):
            key = (salt, *prompt[:end])
            if key in self.cached and cached == end - BLOCK:
                cached = end
            self.cached.add(key)
        return {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(words(answer)),
            "total_tokens": len(prompt) + len(words(answer)),
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


@contextlib.asynccontextmanager
async def serve(fake: FakeOpenAI) -> AsyncIterator[FakeOpenAI]:
    """Run the fake on a free port of loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(fake.app(), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        yield fake
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
        listener.close()
