"""The answer writer over a fake search and a scripted model: every path ends in one written answer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import GenerationTimeoutError, GenerationUnavailableError, QueueFullError
from retrieval.generation.prompts import NOT_IN_DOCUMENTS
from retrieval.generation.protocol import GenerationRequest, Message
from retrieval.records import Scores, SearchRequest, SearchResult
from serving.answering.confidence import confidence
from serving.answering.records import AnswerRequest, Expand, Found, Piece, StageDone
from serving.answering.thinking import ThinkingFilter
from tests.fakes.answer_bench import TEXTS, Bench, result, stages, told

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_written_answer_comes_in_pieces_with_citations_and_usage() -> None:
    bench = Bench()
    events, written = await bench()
    assert told(events) == written.answer.text == "Trams run every ten minutes [1]."
    assert sum(isinstance(event, Piece) for event in events) == 6
    [cite] = written.answer.citations
    assert (cite.doc_id, cite.start, cite.quote) == ("doc0", 10, TEXTS[0])
    assert written.flaws == ()
    assert stages(written) == ["retrieve", "pack", "generate", "check"]
    assert [event.stage.name for event in events if isinstance(event, StageDone)] == stages(written)
    assert written.usage is not None
    assert written.usage.prompt_tokens == sum(
        len(m.content.split()) for m in bench.model.requests[0].messages
    )
    assert isinstance(next(event for event in events if not isinstance(event, StageDone)), Found)
    assert bench.model.requests[0].tenant == "acme"


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
async def test_an_answer_that_the_limit_of_tokens_ends_says_so(mode: str) -> None:
    bench = Bench("Trams run every ten", generation={"max_tokens": 64})
    _, whole = await bench(response_mode=mode)
    assert not whole.cut
    assert whole.receipt.degraded == ()
    bench.model.finish = "length"
    _, cut = await bench(response_mode=mode)
    assert cut.cut
    assert cut.receipt.degraded == ("answer: cut off at the limit of 64 tokens",)
    _, cut = await bench(response_mode=mode, max_tokens=16)
    assert cut.receipt.degraded == ("answer: cut off at the limit of 16 tokens",)


async def test_a_direct_answer_that_is_cut_says_so() -> None:
    bench = Bench(lambda request: "ANSWER" if "RETRIEVE" in request.messages[0].content else "Hello, I")
    bench.model.finish = "length"
    _, written = await bench("hello", expand=Expand(classify=True))
    assert written.answer.text == "Hello, I"
    assert written.cut
    assert written.receipt.degraded[-1] == "answer: cut off at the limit of 512 tokens"


async def test_the_next_turn_begins_with_this_one() -> None:
    bench = Bench()
    _, first = await bench()
    assert first.turn is not None
    said = (Message("user", "How often?"), Message("assistant", first.answer.text))
    _, second = await bench("And on Sundays?", history=(first.turn,), said=said, expand=Expand(rewrite=False))
    before, after = bench.model.requests[0].messages, bench.model.requests[1].messages
    assert after[: len(before)] == before
    assert after[len(before)] == Message("assistant", first.turn.assistant)
    assert TEXTS[0] not in after[-1].content  # shown in the first turn already
    assert second.answer.citations[0].doc_id == "doc0"


async def test_without_a_model_or_when_told_so_sentences_are_quoted() -> None:
    bench = Bench()
    events, written = await bench(generate=False)
    assert written.answer.kind == "extractive"
    assert bench.model.requests == []
    assert told(events) == written.answer.text
    assert stages(written) == ["retrieve", "answer"]


@pytest.mark.parametrize(
    "error",
    [GenerationUnavailableError("nobody"), GenerationTimeoutError("too slow"), QueueFullError("16 already")],
)
async def test_a_model_that_fails_is_replaced_by_quotes_and_named(error: Exception) -> None:
    events, written = await Bench(error)()
    assert written.answer.kind == "extractive"
    assert written.receipt.degraded == (f"generate: {error}",)
    assert told(events) == written.answer.text
    strict = Bench(error, generation={"fallback": "none"})
    with pytest.raises(type(error)):
        await strict()


async def test_a_model_that_fails_half_way_starts_over_with_quotes() -> None:
    bench = Bench()
    bench.model.fail_after, bench.model.failure = 3, GenerationTimeoutError("stalled")
    events, written = await bench()
    pieces = [event for event in events if isinstance(event, Piece)]
    assert [piece.restart for piece in pieces] == [False, False, False, True]
    assert told(events) == written.answer.text
    assert written.receipt.degraded == ("generate: stalled",)


async def test_not_in_the_documents_is_an_answer_in_the_questions_language() -> None:
    events, written = await Bench(NOT_IN_DOCUMENTS)("多久一班车？")
    assert written.answer.kind == "none"
    assert told(events) == written.answer.text == "文档中没有找到答案。"
    assert written.answer.citations == ()


@pytest.mark.parametrize(
    ("results", "kind"),
    [
        ((), "none"),
        ((result(0, TEXTS[0], dense=0.29),), "none"),
        ((result(0, TEXTS[0], dense=0.31),), "generated"),
        ((result(0, TEXTS[0], dense=0.9, rerank=-1.0),), "none"),
        ((result(0, TEXTS[0])._replace(scores=Scores(None, 3.0, 1.0, None)),), "generated"),
    ],
)
async def test_below_the_confidence_no_model_is_asked(results: tuple[SearchResult, ...], kind: str) -> None:
    bench = Bench(results=results, generation={"min_confidence": 0.3})
    _, written = await bench()
    assert written.answer.kind == kind
    assert len(bench.model.requests) == (kind == "generated")


def test_confidence_by_hand() -> None:
    assert confidence([]) == 0.0
    assert confidence([result(0, "x", rerank=0.0)]) == 0.5
    assert confidence([result(0, "x", dense=-0.2)]) == 0.0
    assert confidence([result(0, "x", rerank=-9999.0)]) == pytest.approx(0.0, abs=1e-20)


def scripted(request: GenerationRequest) -> str:
    """Reply to each kind of prompt as a model would."""
    instruction = request.messages[0].content
    if instruction.startswith("Write one short passage"):
        return "Trams run often."
    if instruction.startswith("Reword"):
        return "Tram interval?\nTram frequency?"
    if instruction.startswith("Does the question need"):
        return "SIMPLE"
    if instruction.startswith("Rewrite"):
        return "How often do trams run?"
    if instruction.startswith("Decide"):
        question = request.messages[1].content
        return "ANSWER" if "Hello" in question else "ASK" if question.endswith(" it") else "RETRIEVE"
    if instruction.startswith("Answer the user briefly"):
        return "Hello there."
    if instruction.startswith("The user's question cannot"):
        return "What do you mean?"
    return "Trams run every ten minutes [1]."


async def test_every_expansion_has_its_stage_and_becomes_a_branch() -> None:
    bench = Bench(scripted)
    wanted = Expand(classify=True, hyde=True, multi_query=2, decompose=True)
    said = (Message("user", "What is line 9?"), Message("assistant", "A tram."))
    _, written = await bench("How often?", expand=wanted, said=said)
    assert stages(written)[:5] == ["rewrite", "classify", "hyde", "multi_query", "decompose"]
    [search] = bench.searches
    assert search.query == written.question == "How often do trams run?"
    assert [(one.name, one.text, one.side) for one in search.branches] == [
        ("hyde", "Trams run often.", "document"),
        ("multi_query", "Tram interval?", "query"),
        ("multi_query", "Tram frequency?", "query"),
    ]
    assert written.receipt.degraded == ()


async def test_an_expansion_that_fails_is_named_and_the_plain_question_searched() -> None:
    def broken(request: GenerationRequest):
        if request.messages[0].content.startswith("Write one short passage"):
            return None
        return scripted(request)

    bench = Bench(broken, expansion={"timeout_s": 0.2})
    _, written = await bench(expand=Expand(hyde=True))
    assert bench.searches[0].branches == ()
    assert written.receipt.degraded == ("hyde: not done within 0.2 s",)
    assert written.answer.kind == "generated"


@pytest.mark.parametrize(("question", "answer"), [("Hello", "Hello there."), ("it", "What do you mean?")])
async def test_no_search_where_no_document_could_help(question: str, answer: str) -> None:
    bench = Bench(scripted)
    events, written = await bench(question, expand=Expand(classify=True))
    assert bench.searches == []
    assert told(events) == written.answer.text == answer
    # The next prompt repeats what was said.
    assert written.turn is not None
    await bench("How often?", history=(written.turn,), expand=Expand(rewrite=False))
    said = [Message("user", question), Message("assistant", answer)]
    assert list(bench.model.requests[-1].messages[1:3]) == said
    assert written.answer.citations == ()


async def test_a_reader_that_leaves_closes_the_model() -> None:
    bench = Bench("word " * 500)
    events = bench.writer.write(AnswerRequest(SearchRequest("How often?")))
    async for event in events:
        if isinstance(event, Piece):
            break
    await events.aclose()
    await asyncio.sleep(0)
    assert bench.model.closed == 1


@given(st.text(alphabet="<think>/ab ", max_size=40), st.integers(1, 7))
def test_thinking_is_hidden_however_it_is_cut(text: str, size: int) -> None:
    def shown(pieces: list[str]) -> str:
        one = ThinkingFilter()
        return "".join(one.feed(piece) for piece in pieces) + one.flush()

    assert shown([text[at : at + size] for at in range(0, len(text), size)]) == shown([text])
    hidden = f"before<think>{text.replace('<', '')}</think>after"
    assert shown(list(hidden)) == "beforeafter"


@pytest.mark.parametrize("words", ["Hello <th", "Hello <"])
async def test_what_is_held_back_as_thinking_is_told_at_the_end(words: str) -> None:
    """Without a search too: the pieces joined are the answer."""

    def reply(request: GenerationRequest) -> str:
        return "ANSWER" if request.messages[0].content.startswith("Decide") else words

    events, written = await Bench(reply)("Hello", expand=Expand(classify=True))
    assert told(events) == written.answer.text == words
