"""Does a model read the line of ranks as it would read the passages' order?

::

    python -m benchmarks.context_order FOLDER --url http://127.0.0.1:8001 --json FILE

The same questions over the same passages in several layouts: by document with
the ranks as labels (``ours``, what the service sends), by rank (``rank
order``), and by document with nothing about the ranks (``no ranks``).  FOLDER
has ``corpus.jsonl`` and ``pairs.jsonl`` or ``queries.jsonl`` with ``qrels``
(``.gz`` too).  The passages of a question are the best by BM25; questions whose
judged passage is not among them are left out.  Needs the extra ``bench``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.beir import JudgedSet, load_beir, load_pairs, passage_texts
from benchmarks.evaluate.compare import paired_interval
from benchmarks.prefix_cache.layouts import Dialogue, by_rank
from benchmarks.provenance import provenance
from indexing.encoders.analysis import Analyzer, words_of
from indexing.errors import GenerationError, InputError, MissingDependencyError
from indexing.settings import GenerationSettings
from retrieval.generation.prompts import ContextPassage, build_prompt
from retrieval.generation.prompts.context import ranking_line
from retrieval.generation.protocol import GenerationRequest, Generator, Message
from retrieval.significance import randomisation_test

Layout = Literal["ours", "rank order", "no ranks"]
LAYOUTS: tuple[Layout, ...] = ("ours", "rank order", "no ranks")
# The service's layout against the usual one; then what of the difference is the line, and what the order.
PAIRS: tuple[tuple[Layout, Layout], ...] = (
    ("ours", "rank order"),
    ("ours", "no ranks"),
    ("no ranks", "rank order"),
)
MEASURES = ("rests", "support", "cites")
_LABEL = re.compile(r"\[(\d{1,4})\]")
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Case:
    """A question, its passages by rank, and which of them is judged to answer it."""

    question: str
    passages: tuple[ContextPassage, ...]
    gold: str


@dataclass(frozen=True, slots=True)
class Laid:
    """A prompt, and the document behind each of its labels in the order in which they stand."""

    messages: tuple[Message, ...]
    documents: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer.

    ``rests``: 1 when no other passage holds more of the words that the answer
    adds to the question than the judged one does, and that one holds some;
    ``support``: the share of those words that it holds; ``cites``: 1 when the
    answer names its label.
    """

    layout: Layout
    question: str
    place: int
    rests: float
    support: float
    cites: float
    answer: str


def lay_out(case: Case) -> dict[Layout, Laid]:
    """Return the case in every layout."""
    prompt = build_prompt(case.question, case.passages)
    ranked = by_rank(prompt, case.passages)
    line = ranking_line(prompt.ranked)
    *before, last = prompt.messages
    silent = (*before, Message(last.role, last.content.replace(f"{line}\n\n", "")))
    ours = {one.label: one.doc_id for one in prompt.shown}
    return {
        "ours": Laid(prompt.messages, ours),
        "rank order": Laid(
            Dialogue().ask(case.question, case.passages, "")["rank order"],
            {one.label: one.doc_id for one in ranked},
        ),
        "no ranks": Laid(silent, ours),
    }


def score(case: Case, layout: Layout, laid: Laid, answer: str) -> Scored:
    """Return what of the answer rests on the judged passage."""
    said = _terms(_LABEL.sub(" ", answer)) - _terms(case.question)
    shares = {one.doc_id: len(said & _terms(one.text)) / len(said) if said else 0.0 for one in case.passages}
    gold = shares[case.gold]
    cited = {laid.documents.get(int(label)) for label in _LABEL.findall(answer)}
    return Scored(
        layout,
        case.question,
        list(laid.documents.values()).index(case.gold) + 1,
        rests=float(gold > 0 and gold >= max(shares.values())),
        support=gold,
        cites=float(case.gold in cited),
        answer=answer,
    )


def make_cases(
    judged: JudgedSet, texts: Mapping[str, str], *, questions: int, passages: int, words: int, seed: int
) -> list[Case]:
    """Return questions drawn at random whose judged passage is among the best by BM25.

    Args:
        texts: doc_id -> text of the corpus.
        passages: shown for each question.
        words: passages longer than this are left out of the corpus.

    Raises:
        MissingDependencyError: bm25s is not installed.
        InputError: no question is left.
    """
    short = {doc_id: text for doc_id, text in texts.items() if len(text.split()) <= words}
    best = _ranker(short, passages)
    order = sorted(judged.queries)
    random.Random(seed).shuffle(order)  # noqa: S311
    cases: list[Case] = []
    for query_id in order:
        found = best(judged.queries[query_id])
        gold = next((doc_id for doc_id in found if doc_id in judged.qrels[query_id]), None)
        if gold is None or len(found) < passages:
            continue
        shown = tuple(_passage(doc_id, short[doc_id], rank) for rank, doc_id in enumerate(found, start=1))
        cases.append(Case(judged.queries[query_id], shown, gold))
        if len(cases) == questions:
            break
    if not cases:
        raise InputError(f"{judged.name} has no question whose judged passage is among the best {passages}")
    return cases


async def ask(
    cases: Sequence[Case], model: Generator, max_tokens: int, say: Callable[[str], None]
) -> list[Scored]:
    """Return every case's answer in every layout; a case's layouts are asked together."""
    room = asyncio.Semaphore(_AT_ONCE)
    done = 0

    async def one(case: Case, layout: Layout, laid: Laid) -> Scored:
        nonlocal done
        async with room:
            reply = await model.complete(GenerationRequest(laid.messages, max_tokens=max_tokens))
        done += 1
        if done % 25 == 0:
            say(f"{done} of {len(cases) * len(LAYOUTS)} answers")
        return score(case, layout, laid, reply.text)

    return list(
        await asyncio.gather(
            *(one(case, layout, laid) for case in cases for layout, laid in lay_out(case).items())
        )
    )


def report(found: Sequence[Scored], seed: int) -> str:
    """Return the layouts as a table, and each against each by a paired test."""
    by_layout = {layout: [one for one in found if one.layout == layout] for layout in LAYOUTS}
    lines = [
        "| layout | rests on the judged passage | support by it | cites it | its place, mean |",
        "|---|---|---|---|---|",
    ]
    for layout, scored in by_layout.items():
        rests, support, cites = (_mean([getattr(one, name) for one in scored]) for name in MEASURES)
        place = _mean([float(one.place) for one in scored])
        lines.append(f"| {layout} | {rests:.3f} | {support:.3f} | {cites:.3f} | {place:.2f} |")
    same = sum(a.answer == b.answer for a, b in zip(by_layout["ours"], by_layout["rank order"], strict=True))
    lines += [
        "",
        f"{len(by_layout['ours'])} questions; ours and rank order word for word the same: {same}",
        "",
    ]
    lines += [f"| difference | {' | '.join(MEASURES)} |", "|---|---|---|---|"]
    for one, other in PAIRS:
        cells = [_compared(by_layout[one], by_layout[other], name, seed) for name in MEASURES]
        lines.append(f"| {one} minus {other} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _compared(one: Sequence[Scored], other: Sequence[Scored], name: str, seed: int) -> str:
    """Return the mean difference of a measure, its interval and its p."""
    mine = [float(getattr(scored, name)) for scored in one]
    theirs = [float(getattr(scored, name)) for scored in other]
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    low, high = paired_interval(differences, seed)
    p = randomisation_test(mine, theirs, seed)
    return f"{_mean(differences):+.3f} [{low:+.3f}, {high:+.3f}], p {p:.4f}"


def _ranker(texts: Mapping[str, str], most: int) -> Callable[[str], list[str]]:
    try:
        import bm25s
    except ImportError as error:
        raise MissingDependencyError("bm25s", "bench", "ranking passages") from error
    ids = list(texts)
    model: Any = bm25s.BM25(method="lucene")
    model.index([_listed(texts[one]) for one in ids], show_progress=False)

    def best(question: str) -> list[str]:
        terms = [term for term in _listed(question) if term in model.vocab_dict]
        if not terms:
            return []
        rows, _ = model.retrieve([terms], k=min(most, len(ids)), show_progress=False)
        return [ids[row] for row in rows[0].tolist()]

    return best


_ANALYZER = Analyzer(stem=True)


def _listed(text: str) -> list[str]:
    return [term for word in words_of(text) if (term := _ANALYZER.term_of(word)) is not None]


def _terms(text: str) -> frozenset[str]:
    return frozenset(_listed(text))


def _passage(doc_id: str, text: str, rank: int) -> ContextPassage:
    return ContextPassage(doc_id, "1", 0, len(text), text, doc_id, "", "", None, rank)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _judged(folder: Path) -> JudgedSet:
    paired = any((folder / f"pairs.jsonl{end}").is_file() for end in ("", ".gz"))
    return load_pairs(folder) if paired else load_beir(folder)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a judged set")
    parser.add_argument("--url", required=True, help="a running OpenAI-compatible server")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--passages", type=int, default=4)
    parser.add_argument("--words", type=int, default=120, help="of the longest passage")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write every answer to this file")
    return parser.parse_args(arguments)


async def _measured(cases: Sequence[Case], options: argparse.Namespace) -> tuple[str, list[Scored]]:
    from retrieval.generation.client import open_generator

    settings = GenerationSettings(
        url=options.url, temperature=0.0, timeout_s=900, first_token_timeout_s=600, concurrency=_AT_ONCE
    )
    with tempfile.TemporaryDirectory() as home:
        model = open_generator(settings, Path(home))
        if model is None:
            raise InputError("name a server with --url")
        try:
            told = await model.check()
            return told, await ask(cases, model, options.max_tokens, _say)
        finally:
            await model.aclose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when the set or the server cannot be used."""
    options = _options(arguments)
    try:
        judged = _judged(options.folder)
        cases = make_cases(
            judged,
            passage_texts(options.folder),
            questions=options.questions,
            passages=options.passages,
            words=options.words,
            seed=options.seed,
        )
        model, found = asyncio.run(_measured(cases, options))
    except (InputError, MissingDependencyError, GenerationError) as error:
        _say(f"error: {error}")
        return 1
    sys.stdout.write(f"{model}; {judged.name}, seed {options.seed}\n\n{report(found, options.seed)}\n")
    if options.json is not None:
        body = {"provenance": provenance(), "model": model, "set": judged.checksum, "seed": options.seed}
        rows = [asdict(one) for one in found]
        options.json.write_text(json.dumps({**body, "answers": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
