"""Queries that a language model writes about passages of the index."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import anyio
import anyio.to_thread
from pydantic import Field, SecretStr

from distill.errors import TeacherAnswerError, TeacherError
from distill.labelling.patience import patiently
from distill.labelling.settings import LabelSettings
from distill.labelling.store import LabelStore
from distill.queries.files import QueryRow
from distill.queries.text import normal, query_id, words
from distill.records import Passage, Query
from distill.teachers.http import Answer, Endpoint, Usage
from indexing.languages import script_shares
from indexing.settings import Section

logger = logging.getLogger(__name__)

# What stays the same comes first, so that the server's prefix cache keeps it.
PROMPT = """\
You help to test a search engine. You will get a passage from a document. Write {count} different \
search queries that somebody who has never seen this passage could type, and that this passage answers.

Rules:
- Write in the same language as the passage.
- Ask for what the passage says, in your own words; do not copy its sentences.
- Each query must make sense alone: no "this passage", no "the author", no "according to the text".
- Vary them: a full question, a few keywords, something a beginner would ask.
- One query on each line, nothing else: no numbers, no quotation marks, no explanations."""

_THINKING = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
_LEAD = re.compile(r"^\s*(?:[-*•·]+|\(?\d{1,2}[.):、)]|[QqA-Za-z]{1,6}\d{0,2}:)\s*")
_QUOTES = "\"'“”‘’「」『』《》` "
_POINTING = re.compile(
    r"\b(this|the) (passage|text|article|excerpt|author|document)\b|(这|本|该)(段|篇|文|文章|段落)|上文|作者",
    re.IGNORECASE,
)


class GenerationSettings(Section):
    """Which model writes the queries, and what is kept of them."""

    url: str = "http://127.0.0.1:8000"
    model: str = Field(min_length=1)
    api_key: SecretStr | None = None
    per_passage: int = Field(3, ge=1, le=20)
    temperature: float | None = Field(0.7, ge=0, le=2, description="None: the server's own")
    max_tokens: int = Field(512, ge=16)
    timeout_s: float = Field(120.0, gt=0)
    max_copied: float = Field(
        0.7, gt=0, le=1, description="share of a query's words that may stand in the passage in one run"
    )
    max_words: int = Field(40, ge=3)


@dataclass(slots=True)
class GenerationReport:
    """What was asked, written and dropped, by reason."""

    passages: int = 0
    asked: int = 0
    written: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)


class _Message(Answer):
    content: str | None = None


class _Choice(Answer):
    message: _Message


class _Chat(Answer):
    choices: tuple[_Choice, ...] = ()
    usage: Usage = Usage()


async def generate(
    passages: Sequence[Passage],
    settings: GenerationSettings,
    store: LabelStore,
    asking: LabelSettings,
    report: GenerationReport,
) -> list[QueryRow]:
    """Return the queries written about some passages, each with its passage as the known answer.

    Answers are kept in the store as they come, so a run that was killed pays
    for no passage twice; what is kept of an answer is decided anew each time.
    Queries are dropped that copy the passage, point at it ("the author"), are
    in another script than it, or were written before.
    """
    endpoint = Endpoint(settings.url, api_key=settings.api_key, timeout_s=settings.timeout_s)
    waiting = iter(passages)
    answers: dict[str, str] = {}

    async def work() -> None:
        for passage in waiting:
            try:
                answers[passage.doc_id] = await _ask(passage, endpoint, settings, store, asking, report)
            except TeacherError as error:
                report.failed.append((passage.doc_id, str(error)))
                logger.warning("generation_failed passage=%s reason=%s", passage.doc_id, error)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(asking.concurrency, len(passages))):
                group.start_soon(work)
    finally:
        await endpoint.aclose()
    report.passages += len(passages)
    return list(_kept(passages, answers, settings, report))


async def _ask(
    passage: Passage,
    endpoint: Endpoint,
    settings: GenerationSettings,
    store: LabelStore,
    asking: LabelSettings,
    report: GenerationReport,
) -> str:
    prompt = PROMPT.format(count=settings.per_passage)
    key = hashlib.sha256(f"{prompt}\0{settings.temperature}".encode()).hexdigest()
    known = await anyio.to_thread.run_sync(store.generated, settings.model, key, passage.text)
    if known is not None:
        return known
    body: dict[str, object] = {
        "model": settings.model,
        "messages": [
            {"role": "system", "content": prompt},
            {"role": "user", "content": passage.text},
        ],
        "max_tokens": settings.max_tokens,
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    url = f"{endpoint.openai}/chat/completions"
    answer = await patiently(lambda: endpoint.post(url, body, _Chat), asking)
    text = (answer.choices[0].message.content or "") if answer.choices else ""
    if not text.strip():
        raise TeacherAnswerError(f"{url} answered without a text")
    await anyio.to_thread.run_sync(store.add_generated, settings.model, key, passage.text, text)
    report.asked += 1
    return text


def _kept(
    passages: Sequence[Passage],
    answers: dict[str, str],
    settings: GenerationSettings,
    report: GenerationReport,
) -> Iterator[QueryRow]:
    seen: set[str] = set()
    for passage in passages:  # in their order, whatever order the answers came in
        for text in parse_queries(answers.get(passage.doc_id, ""))[: settings.per_passage]:
            reason = why_dropped(text, passage.text, settings)
            if reason is None and normal(text) in seen:
                reason = "repeated"
            if reason is not None:
                report.dropped[reason] = report.dropped.get(reason, 0) + 1
                continue
            seen.add(normal(text))
            report.written += 1
            yield QueryRow(Query(query_id(text), text), "generated", passage)


def parse_queries(answer: str) -> list[str]:
    """Return the lines of an answer as queries, without thinking, numbers and quotation marks.

    >>> parse_queries('<think>hm</think>1. how to open a file\\n- "open()"')
    ['how to open a file', 'open()']
    """
    lines = (_LEAD.sub("", line).strip(_QUOTES) for line in _THINKING.sub("", answer).splitlines())
    return [line for line in lines if words(line)]


def why_dropped(query: str, passage: str, settings: GenerationSettings) -> str | None:
    """Return why a query is of no use, or None when it is."""
    asked, told = words(query), words(passage)
    if len(asked) > settings.max_words:
        return "too long"
    if len(asked) < 2:
        return "too short"
    if _POINTING.search(query):
        return "points at the passage"
    run = SequenceMatcher(None, asked, told, autojunk=False).find_longest_match().size
    # Two or three words in a row are a name, and a question may name its subject.
    if run > 3 and run > settings.max_copied * len(asked):
        return "copies the passage"
    return None if _same_script(query, passage) else "another language"


def _same_script(query: str, passage: str) -> bool:
    """Whether the query is written in a script that the passage mostly, or partly, uses."""
    ours, theirs = script_shares(query), script_shares(passage)
    if not ours or not theirs:
        return True
    main = max(theirs, key=lambda script: theirs[script])
    return ours.get(main, 0.0) > 0 or max(ours, key=lambda script: ours[script]) == main
