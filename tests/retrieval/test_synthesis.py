"""Response modes: how many calls, what is in them, what of them is told, and that no fence is torn."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from indexing.errors import GenerationError, GenerationTimeoutError, GenerationUnavailableError
from retrieval.generation.prompts import ContextPassage, Turn, build_prompt
from retrieval.generation.protocol import Chunk, GenerationRequest, Message, ResponseMode
from retrieval.generation.synthesis import Synthesis, prepare
from tests.fakes.scripted_generator import ScriptedGenerator

pytestmark = pytest.mark.anyio
LIKE = GenerationRequest((), tenant="acme", max_tokens=7, temperature=0.5)
MODES: tuple[ResponseMode, ...] = ("compact", "refine", "tree_summarize")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def passages(count: int) -> list[ContextPassage]:
    texts = [f"Fact {number} about {{braces}} and " + "words " * 20 for number in range(count)]
    return [
        ContextPassage(f"d{number}", "v", 0, len(text), text, f"{number}.md", "", "", None, count - number)
        for number, text in enumerate(texts)
    ]


@dataclass
class Told:
    """What came of an answer: its pieces, the ends of its calls, and both in their order."""

    making: Synthesis
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(one.text for one in self.chunks)

    @property
    def ends(self) -> list[Chunk]:
        return [one for one in self.chunks if one.finish is not None]


async def synthesize(
    question: str,
    shown: Sequence[ContextPassage],
    model: ScriptedGenerator,
    *,
    mode: ResponseMode,
    budget: int,
    like: GenerationRequest = LIKE,
    history: Sequence[Turn] = (),
) -> Told:
    named = {"mode": mode, "budget": budget, "count": model.count_tokens, "like": like, "history": history}
    told = Told(await prepare(question, shown, model, **named))
    async for chunk in told.making.stream():
        told.chunks.append(chunk)
    return told


def fences(request: GenerationRequest) -> list[int]:
    content = request.messages[-1].content
    opened = [int(label) for label in re.findall(r"<passage (\d+)>", content)]
    assert opened == [int(label) for label in re.findall(r"</passage (\d+)>", content)]
    return opened


@pytest.mark.parametrize("mode", MODES)
async def test_with_room_for_all_every_mode_sends_our_prompt(mode: ResponseMode) -> None:
    model = ScriptedGenerator("So it is [1].")
    found = await synthesize("What?", passages(3), model, mode=mode, budget=1000)
    assert found.text == "So it is [1]."
    [request] = model.requests
    assert request.messages == build_prompt("What?", passages(3)).messages
    assert (request.tenant, request.max_tokens, request.temperature) == ("acme", 7, 0.5)
    assert len(found.ends) == len(found.making.groups) == 1
    assert found.ends[0].usage is not None


async def test_refining_goes_on_with_the_answer_so_far() -> None:
    model = ScriptedGenerator(lambda request: f"answer over {fences(request)}")
    found = await synthesize("What?", passages(6), model, mode="refine", budget=70)
    assert [fences(request) for request in model.requests] == [[1, 2], [3, 4], [5, 6]]
    assert "answer over [1, 2]" in model.requests[1].messages[-1].content
    assert found.text == "answer over [5, 6]"
    assert len(found.ends) == 3
    # The same instruction first in every call, so that it is cached.
    assert len({request.messages[0] for request in model.requests}) == 1


async def test_a_tree_answers_each_group_and_then_the_answers() -> None:
    model = ScriptedGenerator(lambda request: f"summary of {fences(request)}")
    found = await synthesize("What?", passages(6), model, mode="tree_summarize", budget=70)
    assert sorted(fences(request) for request in model.requests[:3]) == [[1, 2], [3, 4], [5, 6]]
    last = model.requests[3].messages[-1].content
    assert all(f"summary of [{pair}]" in last for pair in ("1, 2", "3, 4", "5, 6"))
    assert len(model.requests) == 4
    assert len(found.making.groups) == 3
    assert len(found.ends) == 4


async def test_compact_is_one_call_whatever_it_is_given() -> None:
    """The caller packs what fits; LlamaIndex must not go on refining over what does not."""
    model = ScriptedGenerator(lambda request: f"answer over {fences(request)}")
    found = await synthesize("What?", passages(6), model, mode="compact", budget=1)
    assert found.text == "answer over [1, 2, 3, 4, 5, 6]"
    assert len(model.requests) == 1


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
async def test_every_call_begins_with_the_conversation_as_it_was_sent(mode: ResponseMode) -> None:
    """Braces in it are text; what it shows is not shown again, and the labels go on behind it."""
    first = build_prompt("First {query_str} {context_str}?", passages(2))
    history = [Turn(first.user, "So {it} is {existing_answer} [1].", first.shown)]
    model = ScriptedGenerator(lambda request: f"answer over {fences(request)}")
    found = await synthesize("Second?", passages(6), model, mode=mode, budget=70, history=history)
    before = (
        *first.messages,
        Message("assistant", "So {it} is {existing_answer} [1]."),
    )
    assert len(model.requests) > 1
    for request in model.requests:
        assert request.messages[: len(before)] == before
        assert len(request.messages) == len(before) + 1
        assert request.prefix == first.prefix, "the replica that has the conversation"
    shown = sorted(label for request in model.requests[:2] for label in fences(request))
    assert shown == [3, 4, 5, 6]
    assert [one.label for one in found.making.prompt.passages] == [1, 2, 3, 4, 5, 6]
    # Of six passages, ranked from the last to the first, two are from the turn before.
    assert "Look in passage 6 first, then in 5, 4, 3, 2, 1." in model.requests[0].messages[-1].content


@pytest.mark.parametrize("mode", MODES)
async def test_one_group_behind_a_conversation_is_our_prompt(mode: ResponseMode) -> None:
    first = build_prompt("First?", passages(2))
    history = [Turn(first.user, "So [1].", first.shown)]
    model = ScriptedGenerator("So [3].")
    await synthesize("Second?", passages(4), model, mode=mode, budget=1000, history=history)
    [request] = model.requests
    assert request.messages == build_prompt("Second?", passages(4), history=history).messages


@pytest.mark.parametrize("mode", MODES)
async def test_what_was_shown_before_is_asked_again_in_one_call(mode: ResponseMode) -> None:
    first = build_prompt("First?", passages(2))
    history = [Turn(first.user, "So [1].", first.shown)]
    model = ScriptedGenerator("So [2].")
    found = await synthesize("Second?", passages(2), model, mode=mode, budget=9, history=history)
    [request] = model.requests
    assert request.messages == build_prompt("Second?", passages(2), history=history).messages
    assert found.text == "So [2]."


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_at_all_to_show_is_the_question_alone(mode: ResponseMode) -> None:
    model = ScriptedGenerator("No.")
    await synthesize("Why?", [], model, mode=mode, budget=9)
    assert model.requests[0].messages == build_prompt("Why?", []).messages


# ── what is told, and when ────────────────────────────────────────────────


@pytest.mark.parametrize(("mode", "calls"), [("compact", 1), ("refine", 3), ("tree_summarize", 4)])
async def test_the_last_call_is_told_token_by_token_and_the_others_only_end(
    mode: ResponseMode, calls: int
) -> None:
    """The model goes on only when the piece before has arrived; one that were held back would stop it."""
    arrived = asyncio.Event()

    class Waiting(ScriptedGenerator):
        async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk]:
            last = len(self.requests) == calls - 1
            async with contextlib.aclosing(super().stream(request)) as chunks:
                async for chunk in chunks:
                    arrived.clear()
                    yield chunk
                    if last and chunk.text:
                        await asyncio.wait_for(arrived.wait(), 10)

    model = Waiting(lambda request: f"call {len(model.requests)} says this")
    budget = 1000 if mode == "compact" else 70
    making = await prepare(
        "What?", passages(6), model, mode=mode, budget=budget, count=model.count_tokens, like=LIKE
    )
    told: list[str] = []
    async for chunk in making.stream():
        told.append("end" if chunk.finish is not None else chunk.text)
        if chunk.text:
            arrived.set()
    assert told == ["end"] * (calls - 1) + ["call", f" {calls}", " says", " this", "end"]


async def test_what_the_limit_ended_is_told_of_every_call() -> None:
    model = ScriptedGenerator("half an")
    model.finish = "length"
    for mode in MODES:
        found = await synthesize("What?", passages(6), model, mode=mode, budget=70)
        assert {one.finish for one in found.ends} == {"length"}


def silent(*calls: int) -> Callable[[GenerationRequest], str]:
    """A model that says nothing, or white space, in these calls."""
    asked = []

    def reply(request: GenerationRequest) -> str:
        asked.append(request)
        return (" \n" if len(asked) % 2 else "") if len(asked) in calls else f"answer {len(asked)}"

    return reply


@pytest.mark.parametrize(
    ("calls", "text"), [((3,), "answer 2"), ((2, 3), "answer 1"), ((1,), "answer 3"), ((2,), "answer 3")]
)
async def test_a_refining_call_that_says_nothing_leaves_the_answer(calls: tuple[int, ...], text: str) -> None:
    model = ScriptedGenerator(silent(*calls))
    found = await synthesize("What?", passages(6), model, mode="refine", budget=70)
    assert found.text == text
    assert len(found.ends) == len(model.requests) == 3
    # What goes on is the latest answer, never an empty one.
    assert all("passages:\n\n" not in one.messages[-1].content for one in model.requests)


@pytest.mark.parametrize("mode", MODES)
async def test_a_model_that_says_nothing_at_all_gives_nothing(mode: ResponseMode) -> None:
    """LlamaIndex's "Empty Response" is no answer."""
    model = ScriptedGenerator("")
    found = await synthesize("What?", passages(6), model, mode=mode, budget=70)
    assert found.text == ""
    assert len(found.ends) == len(model.requests)


# ── failures, time, and leaving ───────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
async def test_a_failure_is_not_turned_into_an_answer(mode: ResponseMode) -> None:
    # ValueError: LlamaIndex's refining catches those of its own parsing.
    for error in (GenerationUnavailableError("nobody"), ValueError("a defect")):
        model = ScriptedGenerator(error)
        with pytest.raises(type(error)):
            await synthesize("What?", passages(2), model, mode=mode, budget=70)


async def test_a_group_that_fails_ends_the_others() -> None:
    def reply(request: GenerationRequest) -> str | Exception:
        return GenerationError("broken") if fences(request)[0] == 3 else "word " * 500_000

    model = ScriptedGenerator(reply)
    with pytest.raises(GenerationError, match="broken"):
        await synthesize("What?", passages(6), model, mode="tree_summarize", budget=70)
    assert len(model.requests) == 3
    assert model.closed == 2, "the two that were writing"


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
async def test_the_time_is_for_all_calls_together(mode: ResponseMode) -> None:
    """Each call has what the ones before it left."""

    class Slow(ScriptedGenerator):
        async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk]:
            await asyncio.sleep(0.12)
            async with contextlib.aclosing(super().stream(request)) as chunks:
                async for chunk in chunks:
                    yield chunk

    model = Slow(lambda request: "answer" if len(model.requests) < calls else None)
    calls = 2 if mode == "refine" else 4
    with pytest.raises(GenerationTimeoutError, match=re.escape("the answer was not done within 1.5 s")):
        await synthesize("What?", passages(6), model, mode=mode, budget=70, like=replace(LIKE, timeout_s=1.5))
    limits = [one.timeout_s or 0 for one in model.requests]
    assert limits[0] == 1.5
    assert limits[-1] < 1.5 - 0.1
    spent = ScriptedGenerator("answer")
    with pytest.raises(GenerationTimeoutError):
        await synthesize(
            "What?", passages(6), spent, mode=mode, budget=70, like=replace(LIKE, timeout_s=1e-9)
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_closing_the_answer_closes_the_call(mode: ResponseMode, after: int) -> None:
    """At any place: LlamaIndex's generators do not close those that they read from."""

    def reply(request: GenerationRequest) -> str:
        last = len(model.requests) == calls
        return "word " * 500_000 if last else "short"

    calls = {"compact": 1, "refine": 3, "tree_summarize": 4}[mode]
    model = ScriptedGenerator(reply)
    budget = 1000 if mode == "compact" else 70
    making = await prepare(
        "What?", passages(6), model, mode=mode, budget=budget, count=model.count_tokens, like=LIKE
    )
    pieces = 0
    chunks = making.stream()
    async for chunk in chunks:
        pieces += bool(chunk.text)
        if pieces > after:
            break
    assert model.closed == calls - 1
    await chunks.aclose()
    assert model.closed == calls
