"""The durable store of labels: one SQLite file, a commit per answer of a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, inspect, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from distill.errors import LabelStoreError
from distill.labelling.schema import (
    SCHEMA_VERSION,
    answers,
    generations,
    lists,
    meta,
    metadata,
    pairs,
    teachers,
)
from distill.teachers.protocol import TeacherAnswer, TeacherCard

_BUSY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What a teacher's labels have cost, over all runs."""

    answers: int
    passages: int
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    repairs: int
    seconds: float


def text_key(text: str) -> bytes:
    """Return the 16 bytes a text is known by: half of its SHA-256.

    The exact text counts, letter case and spaces included: it is what the
    teacher was shown.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def list_key(passages: Sequence[str]) -> bytes:
    """Return the key of a set of passages; their order does not matter."""
    return hashlib.sha256(b"".join(sorted(map(text_key, passages)))).digest()[:16]


class LabelStore:
    """Labels by teacher, prompt, query text and passage text.

    Thread-safe.  A method that writes has committed, and the disk has
    acknowledged it (``synchronous=FULL``), when it returns: an answer that was
    paid for survives a power cut.  A commit takes a few milliseconds, a
    teacher's answer tenths of seconds, so there is nothing to win by less.

    Raises:
        LabelStoreError: the file does not open, or a newer Winnow wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = _open(path)
        except (SQLAlchemyError, OSError) as error:
            raise LabelStoreError(f"the label store {path} does not open: {error}") from error

    def register(self, card: TeacherCard) -> int:
        """Return the key of a teacher, whose card is stored the first time it is seen."""
        row = {"id": card.id, "prompt": card.prompt_sha256, "card": card.model_dump(mode="json")}
        with self._write() as connection:
            connection.execute(upsert(teachers).values(row).on_conflict_do_nothing())
            found = connection.scalar(
                select(teachers.c.key).where(
                    teachers.c.id == card.id, teachers.c.prompt == card.prompt_sha256
                )
            )
        return int(found or 0)

    def card(self, teacher: int) -> TeacherCard:
        """Return the stored card: its date is the day this store first saw the teacher."""
        with self._engine.connect() as connection:
            body = connection.scalar(select(teachers.c.card).where(teachers.c.key == teacher))
        if body is None:
            raise LabelStoreError(f"{self.path} knows no teacher {teacher}")
        return TeacherCard.model_validate(body)

    def golden_at(self, teacher: int) -> str | None:
        """Return when the teacher passed the golden pairs, None when it has not."""
        with self._engine.connect() as connection:
            found = connection.scalar(select(teachers.c.golden_at).where(teachers.c.key == teacher))
        return None if found is None else str(found)

    def set_golden(self, teacher: int, card: TeacherCard, report: Mapping[str, object]) -> None:
        """Remember the outcome of the golden gate (``card.golden``) and its report."""
        body = self.card(teacher).with_golden(card.golden).model_dump(mode="json")
        values: dict[str, object] = {"card": body, "golden": dict(report)}
        if card.golden == "passed":
            values["golden_at"] = _now()
        with self._write() as connection:
            connection.execute(update(teachers).where(teachers.c.key == teacher).values(values))

    def scores(self, teacher: int, query: str) -> dict[bytes, float]:
        """Return every pointwise score of a query, by the passage's :func:`text_key`."""
        wanted = select(pairs.c.passage, pairs.c.score).where(
            pairs.c.teacher == teacher, pairs.c.query == text_key(query)
        )
        with self._engine.connect() as connection:
            return {bytes(row.passage): float(row.score) for row in connection.execute(wanted)}

    def list_scores(self, teacher: int, query: str, passages: Sequence[str]) -> dict[bytes, float] | None:
        """Return a listwise label by passage key, None when this set was never ranked."""
        wanted = select(lists.c.scores).where(
            lists.c.teacher == teacher, lists.c.query == text_key(query), lists.c.list == list_key(passages)
        )
        with self._engine.connect() as connection:
            found = connection.scalar(wanted)
        if found is None:
            return None
        return dict(zip(sorted(map(text_key, passages)), map(float, found), strict=True))

    def add_pairs(
        self, teacher: int, query: str, passages: Sequence[str], answer: TeacherAnswer, seconds: float
    ) -> None:
        """Commit pointwise scores; a pair that has one keeps it."""
        with self._write() as connection:
            number = _add_answer(connection, teacher, len(passages), answer, seconds)
            rows = [
                {
                    "teacher": teacher,
                    "query": text_key(query),
                    "passage": text_key(passage),
                    "score": score,
                    "answer": number,
                }
                for passage, score in zip(passages, answer.scores, strict=True)
            ]
            connection.execute(upsert(pairs).on_conflict_do_nothing(), rows)

    def add_list(
        self, teacher: int, query: str, passages: Sequence[str], answer: TeacherAnswer, seconds: float
    ) -> None:
        """Commit one listwise label; a set that has one keeps it."""
        by_key = dict(zip(map(text_key, passages), answer.scores, strict=True))
        with self._write() as connection:
            number = _add_answer(connection, teacher, len(passages), answer, seconds)
            row = {
                "teacher": teacher,
                "query": text_key(query),
                "list": list_key(passages),
                "scores": [by_key[key] for key in sorted(by_key)],
                "answer": number,
            }
            connection.execute(upsert(lists).values(row).on_conflict_do_nothing())

    def spent(self, teacher: int) -> Spent:
        """Return what the teacher's labels have cost so far."""
        a = answers.c
        counted = (a.passages, a.calls, a.prompt_tokens, a.cached_tokens, a.completion_tokens, a.repairs)
        sums = [func.coalesce(func.sum(column), 0).label(column.name) for column in (*counted, a.seconds)]
        with self._engine.connect() as connection:
            row = connection.execute(
                select(func.count().label("answers"), *sums).where(a.teacher == teacher)
            ).one()
        return Spent(**row._mapping)

    def generated(self, model: str, prompt: str, passage: str) -> str | None:
        """Return what a model answered to a prompt about a passage, None when it was never asked."""
        g = generations.c
        wanted = select(g.answer).where(g.model == model, g.prompt == prompt, g.passage == text_key(passage))
        with self._engine.connect() as connection:
            found = connection.scalar(wanted)
        return None if found is None else str(found)

    def add_generated(self, model: str, prompt: str, passage: str, answer: str) -> None:
        """Commit a model's answer; one that is there stays."""
        row = {"model": model, "prompt": prompt, "passage": text_key(passage), "answer": answer, "at": _now()}
        with self._write() as connection:
            connection.execute(upsert(generations).values(row).on_conflict_do_nothing())

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> _Writing:
        return _Writing(self._engine, self.path)


class _Writing:
    """One transaction; the library's errors leave it as ours."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._begun = engine.execution_options(winnow_write=True).begin()
        self._path = path

    def __enter__(self) -> Connection:
        try:
            return self._begun.__enter__()
        except SQLAlchemyError as error:
            raise LabelStoreError(f"the label store {self._path} is not writable: {error}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._begun.__exit__(kind, error, trace)
        except SQLAlchemyError as failure:
            raise LabelStoreError(f"the label store {self._path} did not commit: {failure}") from failure
        if isinstance(error, SQLAlchemyError):
            raise LabelStoreError(f"the label store {self._path} refused: {error}") from error


def _add_answer(
    connection: Connection, teacher: int, passages: int, answer: TeacherAnswer, seconds: float
) -> int:
    done = connection.execute(
        insert(answers).values(
            teacher=teacher,
            passages=passages,
            calls=answer.calls,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            completion_tokens=answer.completion_tokens,
            repairs=answer.repairs,
            seconds=seconds,
            at=_now(),
        )
    )
    key = done.inserted_primary_key
    if key is None:
        raise LabelStoreError("the label store gave an answer no number")
    return int(key[0])


def _open(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    version = select(meta.c.value).where(meta.c.key == "schema_version")
    if inspect(engine).has_table(meta.name):
        with engine.connect() as connection:
            found = connection.scalar(version)
        if found is not None and int(found) > SCHEMA_VERSION:
            raise LabelStoreError(
                f"a newer Winnow wrote {path} (schema {found}, this one reads up to {SCHEMA_VERSION}); "
                "run: pip install --upgrade winnow-search"
            )
    with engine.execution_options(winnow_write=True).begin() as connection:
        metadata.create_all(connection)
        row = {"key": "schema_version", "value": str(SCHEMA_VERSION)}
        connection.execute(upsert(meta).values(row).on_conflict_do_nothing())
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin as _begin says, not as the driver guesses
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A write takes its lock as it begins: it waits for another writer instead of failing half-way.
    if connection.get_execution_options().get("winnow_write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
