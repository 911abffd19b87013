"""A fake vLLM server: the endpoints a teacher uses, in the shapes vLLM 0.32 answers with.

``with FakeTeacherServer() as server:`` gives ``server.url``; ``server.fault``
may be changed at any time; ``server.log`` holds every call.  The shapes are
held against a real server by ``tests/distill/vllm``.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

from benchmarks.teacher_model import Fault, judged

_PROMPT = re.compile(
    r"<?Query>?: (?P<query>.*?)\n+(?:<Document>|Passage): (?P<passage>.*?)"
    r"(?:\n\nIs the passage|<\|im_end\|>|$)",
    re.DOTALL,
)
_TOKEN = re.compile(r"<\|\w+\|>|</?think>|[\u3400-\u9fff]|[A-Za-z]+|\s|.", re.DOTALL)
_PATHS = (
    "/generative_scoring",
    "/v1/completions",
    "/score",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
)
_FREE = ("/tokenize", "/detokenize")  # a fault of the model does not show here


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came, and the status it was answered with."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    status: int


class FakeTeacherServer:
    """The server; a context manager that runs it in a thread on a free port."""

    model = "fake-judge"

    def __init__(
        self, fault: Fault = "none", *, max_model_len: int = 4096, fail_first: int = 0, messy: bool = False
    ) -> None:
        self.fault: Fault = fault
        self.max_model_len = max_model_len
        self.fail_first = fail_first  # that many model calls are answered 503, then it is well
        self.messy = messy  # permutations that need mending
        self.retry_after = "0"
        self.log: list[Call] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.Lock()
        self._vocabulary: dict[str, int] = {}
        self._words: list[str] = []
        self._closing = threading.Event()

    @property
    def model_calls(self) -> list[Call]:
        """The calls that asked the model for something."""
        return [call for call in self.log if call.path not in _FREE]

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self._app(), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        until = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > until:
                raise TimeoutError("the fake teacher did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def _app(self) -> FastAPI:
        app = FastAPI()
        for path in _PATHS:
            app.add_api_route(path, self._answer, methods=["POST"])
        return app

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        body = json.loads(await request.body())
        with self._lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = await self._failed(path) or self._well(path, body)
        finally:
            with self._lock:
                self.in_flight -= 1
        self.log.append(Call(path, body, dict(request.headers), reply.status_code))
        return reply

    async def _failed(self, path: str) -> Response | None:
        """The answer of a server that is not well, None of one that is."""
        if path in _FREE:
            return None
        if self.fail_first > 0:
            self.fail_first -= 1
            return _error(503, "starting", {"Retry-After": self.retry_after})
        if self.fault == "timeout":
            while not self._closing.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.02)
        if self.fault == "http-500":
            return _error(500, "the engine died")
        if self.fault == "http-429":
            return _error(429, "too many requests", {"Retry-After": self.retry_after})
        if self.fault == "http-401":
            return _error(401, "Unauthorized")
        return None

    def _well(self, path: str, body: dict[str, Any]) -> Response:
        if body.get("model") not in (None, self.model):
            return _error(404, f"The model `{body['model']}` does not exist.")
        makers = {
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/generative_scoring": self._generative_scoring,
            "/v1/completions": self._completions,
            "/score": self._score,
            "/v1/chat/completions": self._chat,
        }
        made = makers[path](body)
        if isinstance(made, Response):
            return made
        text = json.dumps(made, ensure_ascii=False)
        if self.fault == "malformed-json" and path not in _FREE:
            text = text[: len(text) // 2]
        return Response(text, media_type="application/json")

    # -- the model -----------------------------------------------------------

    def _judged(self, prompts: Sequence[str]) -> list[float]:
        """The log-odds of whole prompts; only the template tells query and passage apart."""
        found = [_PROMPT.search(prompt) for prompt in prompts]
        query = found[0]["query"] if found and found[0] else ""
        return judged(self.fault, query, [one["passage"] if one else "" for one in found])

    def _generative_scoring(self, body: dict[str, Any]) -> object:
        limit = self.max_model_len - 1
        # As vLLM does: cut at the end, without a word.
        prompts = [self._cut(body["query"] + item, limit) for item in body["items"]]
        if self.fault == "missing-token":
            return _error(400, f"Token IDs {body['label_token_ids']} not found in logprobs for item 0.")
        values = self._judged(prompts)
        if body["label_token_ids"][0] == self._ids("no")[0]:
            values = [-value for value in values]
        scores = [_sigmoid(value) for value in values]
        return {
            "id": "generative-scoring-1",
            "object": "list",
            "created": 1,
            "model": self.model,
            "data": self._rows(scores),
            "usage": self._usage(prompts, details=False),
        }

    def _completions(self, body: dict[str, Any]) -> object:
        prompts = body["prompt"]
        if any(len(self._ids(prompt)) > self.max_model_len for prompt in prompts):
            return _error(400, f"This model's maximum context length is {self.max_model_len} tokens.")
        yes, no = body["logprob_token_ids"]
        values = self._judged(prompts)
        rows = []
        for index, value in enumerate(self._dropped(values)):
            tops = {"token_id:7": -0.5}
            if self.fault != "missing-token":
                # log p(no) is -1 below zero, so that the difference is the log-odds.
                tops |= {f"token_id:{yes}": self._spoilt(value - 1.0), f"token_id:{no}": -1.0}
            logprobs = {
                "text_offset": [0],
                "token_logprobs": [-0.5],
                "tokens": ["token_id:7"],
                "top_logprobs": [tops],
            }
            rows.append({"index": index, "text": "", "logprobs": logprobs, "finish_reason": "length"})
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": self.model,
            "choices": rows,
            "usage": self._usage(prompts),
        }

    def _score(self, body: dict[str, Any]) -> object:
        documents = body["documents"]
        values = judged(self.fault, body["queries"], documents)
        if self.fault == "probabilities" or body.get("use_activation", True):
            values = [_sigmoid(value) for value in values]
        return {
            "id": "score-1",
            "object": "list",
            "created": 1,
            "model": self.model,
            "data": self._rows(values),
            "usage": self._usage([body["queries"] + text for text in documents], details=False),
        }

    def _chat(self, body: dict[str, Any]) -> object:
        user = body["messages"][-1]["content"]
        found = re.search(r"Query: (.*)", user)
        texts = re.findall(r"^\[\d+\] (.*)$", user, re.MULTILINE)
        values = judged(self.fault, found[1] if found else "", texts)
        order = sorted(range(len(texts)), key=lambda index: -values[index])
        if self.fault in ("input-order", "order-dependent"):
            order = list(range(len(texts)))
        names = [f"[{index + 1}]" for index in order]
        if self.messy:
            names = [names[0], names[0], *names[1:-1], "[99]"]
        content = "<think>Compare [1] > [2] first.</think>\n" + " > ".join(names)
        if self.fault in ("gibberish", "missing-token"):
            content = "I would say that all of them are interesting."
        message = {"role": "assistant", "content": content, "refusal": None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": self._usage([user]),
        }

    def _rows(self, values: Sequence[float]) -> list[dict[str, object]]:
        return [
            {"index": index, "object": "score", "score": self._spoilt(value)}
            for index, value in enumerate(self._dropped(values))
        ]

    def _spoilt(self, value: float) -> float:
        return math.nan if self.fault == "nan" else value

    def _dropped(self, values: Sequence[float]) -> Sequence[float]:
        return values[:-1] if self.fault == "short-answer" else values

    # -- the tokenizer -------------------------------------------------------

    def _ids(self, text: str) -> list[int]:
        with self._lock:
            found = _TOKEN.findall(text)
            for word in found:
                if word not in self._vocabulary:
                    self._vocabulary[word] = len(self._words)
                    self._words.append(word)
            return [self._vocabulary[word] for word in found]

    def _cut(self, text: str, limit: int) -> str:
        return "".join(_TOKEN.findall(text)[:limit])

    def _tokenize(self, body: dict[str, Any]) -> object:
        if "messages" in body:
            thinking = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
            text = f"<|im_start|>user\n{body['messages'][-1]['content']}<|im_end|>\n<|im_start|>assistant\n"
            text += "" if thinking else "<think>\n\n</think>\n\n"
        else:
            text = body["prompt"]
        ids = self._ids(text)
        if self.fault == "split-label" and text == "yes":
            ids = self._ids("y es")[::2]
        return {"count": len(ids), "max_model_len": self.max_model_len, "tokens": ids, "token_strs": None}

    def _detokenize(self, body: dict[str, Any]) -> object:
        return {"prompt": "".join(self._words[number] for number in body["tokens"])}

    def _usage(self, prompts: Sequence[str], *, details: bool = True) -> dict[str, object]:
        count = sum(len(self._ids(prompt)) for prompt in prompts)
        return {
            "prompt_tokens": count,
            "total_tokens": count + len(prompts),
            "completion_tokens": len(prompts),
            "prompt_tokens_details": {"cached_tokens": 0} if details else None,
        }


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"error": {"message": message, "type": "Error", "param": None, "code": status}}
    return Response(json.dumps(body), status, headers=headers, media_type="application/json")


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0
