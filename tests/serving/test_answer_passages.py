"""What the model reads of the documents, sections or windows: the whole service with a scripted model."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from benchmarks.prefix_cache.layouts import Dialogue
from benchmarks.prefix_cache.streams import make_asks
from indexing.sentences import split_sentences
from retrieval.generation.prompts.sections import SECTION_SENTENCES
from retrieval.generation.protocol import GenerationRequest, Message
from retrieval.records import SearchRequest, SearchResponse
from tests.fakes.scripted_generator import ScriptedGenerator
from tests.fakes.service import Harness, client_of, make_harness

pytestmark = pytest.mark.anyio
PASSAGE = re.compile(r"<passage (\d+)>\nsource: .*\n(.*?)\n</passage \1>", re.DOTALL)
WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "frost",
    "grove",
    "haven",
    "iris",
    "jade",
    "kelp",
    "lotus",
]


def document(name: str, sentences: int) -> str:
    drawn = random.Random(name)
    return " ".join(
        f"Line {number} of {name} tells of {drawn.choice(WORDS)} and {drawn.choice(WORDS)}."
        for number in range(sentences)
    )


TEXTS = {f"python-{name}": document(name, 50) for name in ("first", "second")}


def shown(messages: tuple[Message, ...]) -> dict[int, str]:
    return {int(label): text for one in messages for label, text in PASSAGE.findall(one.content)}


def quoting(request: GenerationRequest) -> str:
    """Repeat one sentence of the best passage word by word, under its label."""
    last = request.messages[-1].content
    best = int(re.findall(r"Look in passage (\d+) first", last)[-1])
    text = shown(request.messages)[best]
    start, end = split_sentences(text)[-1]
    return f'It says "{text[start:end]}" [{best}].'


@pytest.fixture
async def harness(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Harness]:
    made = await make_harness(tmp_path, generator=ScriptedGenerator(quoting))
    made.catalog.texts = dict(TEXTS)
    yield made
    await made.close()


def requests(harness: Harness) -> list[GenerationRequest]:
    return harness.service.generator.requests  # type: ignore[union-attr]


async def ask(client: httpx.AsyncClient, query: str, **fields: object) -> dict[str, object]:
    answer = await client.post("/v1/query", json={"query": query, "rewrite": False, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def sections(doc_id: str) -> list[str]:
    text = TEXTS[doc_id]
    spans = split_sentences(text)
    chunks = [spans[at : at + SECTION_SENTENCES] for at in range(0, len(spans), SECTION_SENTENCES)]
    return [text[chunk[0][0] : chunk[-1][1]] for chunk in chunks]


async def test_the_model_reads_whole_sections_unless_windows_are_asked_for(
    client: httpx.AsyncClient, harness: Harness
) -> None:
    body = await ask(client, "What of amber?", top_n=4)
    [request] = requests(harness)
    known = {text for doc_id in TEXTS for text in sections(doc_id)}
    assert set(shown(request.messages).values()) <= known
    pack = next(stage for stage in body["receipt"]["stages"] if stage["name"] == "pack")
    assert (pack["unit"], pack["passages"]) == ("sections", len(shown(request.messages)))
    for result in body["results"]:
        assert any(result["text"] in text for text in shown(request.messages).values())
    await ask(client, "What of amber?", top_n=1, passages="windows")
    [window] = shown(requests(harness)[1].messages).values()
    # The fake search's window is the whole document.
    assert window in TEXTS.values()


async def test_citations_of_a_section_are_exact(client: httpx.AsyncClient, harness: Harness) -> None:
    for query in ("What of cedar?", "What of jade?", "Line 49?"):
        body = await ask(client, query)
        assert body["flaws"] == []
        [cite] = body["citations"]
        text = TEXTS[cite["doc_id"]]
        assert text[cite["start"] : cite["end"]] == cite["quote"]
        assert cite["quote"] in body["answer"]
        # A whole sentence of the document, without its full stop, which a quotation may leave out.
        assert (cite["start"], cite["end"] + 1) in split_sentences(text)
        assert cite["page"] == 1, "sections know the pages of their sentences"
        label = int(cite["label"].strip("[]"))
        assert cite["quote"] in shown(requests(harness)[-1].messages)[label]


async def test_the_matched_sentence_can_be_cited_by_its_own_offsets(
    client: httpx.AsyncClient, harness: Harness
) -> None:
    def reply(request: GenerationRequest) -> str:
        label, text = next((k, t) for k, t in shown(request.messages).items() if "Line 31 of first" in t)
        return re.search(r"Line 31 of first[^.]*", text)[0] + f" [{label}]."  # type: ignore[index]

    harness.service.generator.reply = reply  # type: ignore[union-attr]
    body = await ask(client, "Line 31 of first?", top_n=1)
    [found], [cite] = body["results"], body["citations"]
    names = ("doc_id", "start", "end")
    assert [cite[name] for name in names] == [found[name] for name in names]
    assert cite["quote"] == found["text"]


async def test_no_sentence_is_sent_twice_in_a_conversation_whose_turns_stay_as_they_were(
    client: httpx.AsyncClient, harness: Harness
) -> None:
    """Whatever each turn asks for: sections, windows, other modes; the context grows at its end."""
    drawn = random.Random(11)
    print("seed 11")  # noqa: T201
    known = (await client.post("/v1/conversations", json={})).json()["id"]
    before: tuple[Message, ...] = ()
    for turn in range(8):
        fields = {
            "passages": drawn.choice(["sections", "windows", None]),
            "response_mode": drawn.choice(["compact", "compact", "refine", "tree_summarize"]),
        }
        first = len(requests(harness))
        query = f"What of {drawn.choice(WORDS)}?"
        await ask(client, query, conversation_id=known, top_n=drawn.randint(1, 4), **fields)
        for request in requests(harness)[first:]:
            assert request.messages[: len(before)] == before, (turn, fields)
            content = "\n".join(one.content for one in request.messages if one.role != "assistant")
            told = re.findall(r"Line \d+ of \w+ tells", content)
            assert len(told) == len(set(told)), (turn, fields)
        saved = harness.service.conversations.turns("default", known)
        sent = [one.sent for one in saved if one.sent is not None]
        assert len(sent) == turn + 1
        before = (
            before[0] if before else requests(harness)[0].messages[0],
            *(m for one in sent for m in (Message("user", one.user), Message("assistant", one.assistant))),
        )


async def test_the_chat_api_reads_sections_too(client: httpx.AsyncClient, harness: Harness) -> None:
    for passages, wanted in ((None, set(sections("python-first"))), ("windows", {TEXTS["python-first"]})):
        body = {
            "messages": [{"role": "user", "content": "Line 31 of first?"}],
            "winnow": {"top_n": 1, "passages": passages},
        }
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert set(shown(requests(harness)[-1].messages).values()) <= wanted
        [cite] = answer.json()["winnow"]["citations"]
        assert TEXTS["python-first"][cite["start"] : cite["end"]] == cite["quote"]


async def test_a_long_chat_is_cut_to_what_the_prompt_may_repeat(tmp_path: Path) -> None:
    harness = await make_harness(
        tmp_path, generator=ScriptedGenerator("So it is."), generation={"history_tokens": 50}
    )
    messages = [
        {"role": role, "content": f"{role} {number} " + "word " * 8}
        for number in range(40)
        for role in ("user", "assistant")
    ]
    messages.append({"role": "user", "content": "how to open a file"})
    async with client_of(harness) as client:
        body = {"messages": messages, "winnow": {"rewrite": False}}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    sent = harness.service.generator.requests[0].messages[1:-1]  # type: ignore[union-attr]
    assert 0 < sum(len(one.content.split()) for one in sent) <= 50
    assert sent[-1].content.startswith("assistant 39")
    await harness.close()


async def test_packing_keeps_the_budget_with_sections(client: httpx.AsyncClient, tmp_path: Path) -> None:
    model = ScriptedGenerator(quoting)
    harness = await make_harness(tmp_path / "small", generator=model, generation={"context_tokens": 64})
    harness.catalog.texts = dict(TEXTS)
    async with client_of(harness) as small:
        body = await ask(small, "Line 31 of first?", top_n=3)
    pack = next(stage for stage in body["receipt"]["stages"] if stage["name"] == "pack")
    assert pack["tokens"] <= 64
    assert pack["cut"] == 1
    [text] = shown(model.requests[0].messages).values()
    assert "Line 31 of first" in text, "the sentence that was found is what stays"
    assert text in TEXTS["python-first"]
    await harness.close()


async def test_the_benchmark_measures_what_the_service_sends(
    client: httpx.AsyncClient, harness: Harness
) -> None:
    """Conversations over two documents, both units: the benchmark's prompts are the service's."""
    budget = harness.settings.generation.context_tokens
    words = {
        "first": ["amber", "iris", "kelp", "amber and jade"],
        "second": ["lotus", "delta", "frost grove"],
    }
    questions = {
        name: [f"What does {name} say of {word}?" for word in asked] for name, asked in words.items()
    }

    async def search(request: SearchRequest) -> SearchResponse:
        return await harness.service.searcher.search(request)

    count = harness.service.generator.count_tokens  # type: ignore[union-attr]
    asks = await make_asks(
        questions, search, harness.service._read_windows, count, budget=budget, streams=["conversation"]
    )
    assert len(asks) == 2 * 7
    dialogues: dict[tuple[str, str], tuple[Dialogue, str]] = {}
    for one in asks:
        if one.turn == 1:
            known = (await client.post("/v1/conversations", json={})).json()["id"]
            dialogues[(one.unit, one.document)] = (Dialogue(), known)
        dialogue, known = dialogues[(one.unit, one.document)]
        harness.service.generator.reply = one.answer  # type: ignore[union-attr]
        wanted = dialogue.ask(one.question, one.passages, one.answer)["ours"]
        await ask(client, one.question, conversation_id=known, passages=f"{one.unit}s")
        assert requests(harness)[-1].messages == wanted, (one.unit, one.document, one.turn)
