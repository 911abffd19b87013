"""Response modes: how many calls, what is in them, and that no fence is torn."""

from __future__ import annotations

import re

import pytest

from indexing.errors import GenerationUnavailableError
from retrieval.generation.prompts import ContextPassage, Turn, build_prompt
from retrieval.generation.protocol import GenerationRequest, Message, ResponseMode
from retrieval.generation.synthesis import synthesize
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


def fences(request: GenerationRequest) -> list[int]:
    content = request.messages[-1].content
    opened = [int(label) for label in re.findall(r"<passage (\d+)>", content)]
    assert opened == [int(label) for label in re.findall(r"</passage (\d+)>", content)]
    return opened


@pytest.mark.parametrize("mode", MODES)
async def test_with_room_for_all_every_mode_sends_our_prompt(mode: ResponseMode) -> None:
    model = ScriptedGenerator("So it is [1].")
    found = await synthesize(
        "What?", passages(3), model, mode=mode, budget=1000, count=model.count_tokens, like=LIKE
    )
    assert found.text == "So it is [1]."
    [request] = model.requests
    assert request.messages == build_prompt("What?", passages(3)).messages
    assert (request.tenant, request.max_tokens, request.temperature) == ("acme", 7, 0.5)
    assert len(found.usages) == found.groups == 1


@pytest.mark.parametrize("mode", ["compact", "refine"])
async def test_refining_goes_on_with_the_answer_so_far(mode: ResponseMode) -> None:
    model = ScriptedGenerator(lambda request: f"answer over {fences(request)}")
    found = await synthesize(
        "What?", passages(6), model, mode=mode, budget=70, count=model.count_tokens, like=LIKE
    )
    assert [fences(request) for request in model.requests] == [[1, 2], [3, 4], [5, 6]]
    assert "answer over [1, 2]" in model.requests[1].messages[-1].content
    assert found.text == "answer over [5, 6]"
    assert len(found.usages) == 3
    # The same instruction first in every call, so that it is cached.
    assert len({request.messages[0] for request in model.requests}) == 1


async def test_a_tree_answers_each_group_and_then_the_answers() -> None:
    model = ScriptedGenerator(lambda request: f"summary of {fences(request)}")
    found = await synthesize(
        "What?", passages(6), model, mode="tree_summarize", budget=70, count=model.count_tokens, like=LIKE
    )
    assert sorted(fences(request) for request in model.requests[:3]) == [[1, 2], [3, 4], [5, 6]]
    last = model.requests[3].messages[-1].content
    assert all(f"summary of [{pair}]" in last for pair in ("1, 2", "3, 4", "5, 6"))
    assert len(model.requests) == 4
    assert found.groups == 3


@pytest.mark.parametrize("mode", MODES)
async def test_every_call_begins_with_the_conversation_as_it_was_sent(mode: ResponseMode) -> None:
    """Braces in it are text; what it shows is not shown again, and the labels go on behind it."""
    first = build_prompt("First {query_str} {context_str}?", passages(2))
    history = [Turn(first.user, "So {it} is {existing_answer} [1].", first.shown)]
    model = ScriptedGenerator(lambda request: f"answer over {fences(request)}")
    found = await synthesize(
        "Second?",
        passages(6),
        model,
        mode=mode,
        budget=70,
        count=model.count_tokens,
        like=LIKE,
        history=history,
    )
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
    assert [one.label for one in found.passages] == [1, 2, 3, 4, 5, 6]
    # Of six passages, ranked from the last to the first, two are from the turn before.
    assert "Most relevant first: [6], [5], [4], [3], [2], [1]." in model.requests[0].messages[-1].content


@pytest.mark.parametrize("mode", MODES)
async def test_one_group_behind_a_conversation_is_our_prompt(mode: ResponseMode) -> None:
    first = build_prompt("First?", passages(2))
    history = [Turn(first.user, "So [1].", first.shown)]
    model = ScriptedGenerator("So [3].")
    named = {"mode": mode, "count": model.count_tokens, "like": LIKE, "history": history}
    await synthesize("Second?", passages(4), model, budget=1000, **named)
    [request] = model.requests
    assert request.messages == build_prompt("Second?", passages(4), history=history).messages


async def test_a_failure_is_not_turned_into_an_answer() -> None:
    model = ScriptedGenerator(GenerationUnavailableError("nobody"))
    for mode in MODES:
        with pytest.raises(GenerationUnavailableError):
            await synthesize(
                "What?", passages(2), model, mode=mode, budget=70, count=model.count_tokens, like=LIKE
            )


async def test_nothing_to_answer_from_is_a_defect_of_the_caller() -> None:
    model = ScriptedGenerator("x")
    with pytest.raises(ValueError, match="nothing to answer from"):
        await synthesize("?", [], model, mode="compact", budget=9, count=model.count_tokens, like=LIKE)
