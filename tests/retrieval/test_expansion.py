"""Each expansion against a scripted model: what it makes of replies, good and bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from indexing.errors import GenerationUnavailableError
from retrieval.expansion import classify, decompose, hypothetical_passage, paraphrases, standalone_question
from retrieval.generation.protocol import (
    Chunk,
    Completion,
    GenerationRequest,
    Generator,
    Message,
    TokenCounts,
    Usage,
)

pytestmark = pytest.mark.anyio
LIMITS = {"tenant": "acme", "timeout_s": 0.3}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Scripted:
    """Replies with a fixed text, or raises, or never replies."""

    model = "scripted"

    def __init__(self, reply: str | Exception | None) -> None:
        self.reply = reply
        self.requests: list[GenerationRequest] = []

    async def complete(self, request: GenerationRequest) -> Completion:
        self.requests.append(request)
        if self.reply is None:
            await asyncio.sleep(60)
        if isinstance(self.reply, Exception):
            raise self.reply
        return Completion(str(self.reply), "stop", Usage(40, 9, 32))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk]:
        done = await self.complete(request)
        yield Chunk(done.text, done.finish, done.usage)

    async def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        return TokenCounts(tuple(len(text.split()) for text in texts), exact=True)

    async def check(self) -> str:
        return self.model

    async def aclose(self) -> None:
        return None


def scripted(reply: str | Exception | None) -> Generator:
    return Scripted(reply)


async def test_hyde_strips_thinking_and_keeps_one_line() -> None:
    model = Scripted("<think>hmm</think>\nTrams run\nevery ten minutes.")
    made = await hypothetical_passage(model, "How often?", **LIMITS)
    assert made.texts == ("Trams run every ten minutes.",)
    assert made.fell_back is None
    assert made.stage().details["cached_tokens"] == 32
    [request] = model.requests
    assert request.tenant == "acme"
    assert request.messages[0].content == request.prefix
    assert request.messages[1].content == "Question: How often?"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (None, "not done within 0.3 s"),
        (GenerationUnavailableError("nobody answers"), "nobody answers"),
        ("<think>and on and on", "wrote nothing"),
    ],
)
async def test_hyde_falls_back_and_says_so(reply: str | Exception | None, words: str) -> None:
    made = await hypothetical_passage(scripted(reply), "How often?", **LIMITS)
    assert made.texts == ()
    assert words in str(made.fell_back)
    assert words in str(made.stage().details["fell_back"])


async def test_paraphrases_are_distinct_and_never_the_question() -> None:
    reply = '1. How frequent are trams?\n- "how often do trams run?"\n* Tram interval\n\nTRAM INTERVAL\nfifth'
    made = await paraphrases(scripted(reply), "How often do trams run?", count=2, **LIMITS)
    assert made.texts == ("How frequent are trams?", "Tram interval")
    nothing = await paraphrases(
        scripted("how often do trams run?"), "How often do trams run?", count=2, **LIMITS
    )
    assert nothing.fell_back == "the model gave no other wording"


async def test_a_simple_question_is_not_taken_apart() -> None:
    simple = await decompose(scripted("SIMPLE."), "How often?", **LIMITS)
    assert (simple.texts, simple.fell_back) == ((), None)
    parts = await decompose(
        scripted("2023年收入是多少？\n2024年收入是多少？"), "两年收入各是多少？", **LIMITS
    )
    assert parts.texts == ("2023年收入是多少？", "2024年收入是多少？")


async def test_a_first_question_is_not_rewritten() -> None:
    model = Scripted("never asked")
    made = await standalone_question(model, "How often?", [], **LIMITS)
    assert made.texts == ("How often?",)
    assert model.requests == []


async def test_a_follow_up_is_rewritten_or_left_alone() -> None:
    history = [Message("user", "What is line 9?"), Message("assistant", "A night tram [1].")]
    made = await standalone_question(scripted("How often does line 9 run?"), "How often?", history, **LIMITS)
    assert made.texts == ("How often does line 9 run?",)
    chatty = await standalone_question(scripted("Sure!\nHow often?"), "How often?", history, **LIMITS)
    assert chatty.texts == ()
    assert "2 lines" in str(chatty.fell_back)


@pytest.mark.parametrize(
    ("before", "question", "reply", "kept"),
    [
        ("What is line 9?", "绿茶怎样保存？", "What is a famous island?", False),
        ("What is line 9?", "绿茶怎样保存？", "绿茶应当怎样保存？", True),
        ("九路是什么？", "它多久一班？", "9路 (night tram) 多久一班？", True),
        ("手机怎么导出文件？", "PDF?", "手机怎么导出便携文档？", True),
        ("What is line 9?", "And at night?", "九路夜里开吗？", False),
        ("What is line 9?", "???", "What is line 9?", True),
    ],
)
async def test_a_follow_up_keeps_its_script(before: str, question: str, reply: str, kept: bool) -> None:
    history = [Message("user", before), Message("assistant", "A night tram 夜车 [1].")]
    made = await standalone_question(scripted(reply), question, history, **LIMITS)
    assert made.texts == ((reply,) if kept else ())
    assert (made.fell_back is None) is kept
    if not kept:
        assert "another language" in str(made.fell_back)


@pytest.mark.parametrize(
    ("reply", "route"),
    [
        ("RETRIEVE", "retrieve"),
        ("answer.", "answer"),
        ("ASK: what?", "ask"),
        ("maybe", "retrieve"),
        ("", "retrieve"),
    ],
)
async def test_when_in_doubt_it_retrieves(reply: str, route: str) -> None:
    found, step = await classify(scripted(reply), "Hello", **LIMITS)
    assert found == route
    assert (step.fell_back is None) == (reply not in ("maybe", ""))
