"""What is to be asked: each text pair once, all passages of a query together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill.labelling.store import LabelStore, list_key, text_key
from distill.records import CandidateList, Passage, Query
from distill.teachers.protocol import TeacherKind


@dataclass(frozen=True, slots=True)
class Task:
    """One query and passages of distinct texts, in the order they are asked."""

    query: Query
    passages: tuple[Passage, ...]


def make_tasks(lists: Sequence[CandidateList], kind: TeacherKind) -> list[Task]:
    """Return the tasks of some candidate lists.

    Pointwise: one task per query text, whatever ids and lists it appears
    under, so that the server's prefix cache serves all its passages and no
    pair is in flight twice.  Listwise: one per query text and set of passages.
    """
    return _by_query(lists) if kind == "pointwise" else _by_set(lists)


def without_known(tasks: Sequence[Task], store: LabelStore, teacher: int, kind: TeacherKind) -> list[Task]:
    """Return what the store has no label for; a pointwise task keeps its unknown passages."""
    left = []
    for task in tasks:
        if kind == "listwise":
            if store.list_scores(teacher, task.query.text, _texts(task)) is None:
                left.append(task)
            continue
        known = store.scores(teacher, task.query.text)
        unknown = tuple(one for one in task.passages if text_key(one.text) not in known)
        if unknown:
            left.append(Task(task.query, unknown))
    return left


def _by_query(lists: Sequence[CandidateList]) -> list[Task]:
    queries: dict[str, Query] = {}
    passages: dict[str, dict[str, Passage]] = {}
    for one in lists:
        queries.setdefault(one.query.text, one.query)
        found = passages.setdefault(one.query.text, {})
        for passage in one.passages:
            found.setdefault(passage.text, passage)
    return [Task(queries[text], tuple(found.values())) for text, found in passages.items() if found]


def _by_set(lists: Sequence[CandidateList]) -> list[Task]:
    tasks: dict[tuple[str, bytes], Task] = {}
    for one in lists:
        distinct = tuple({passage.text: passage for passage in reversed(one.passages)}.values())[::-1]
        if len(distinct) < 2:  # a ranking of one passage says nothing
            continue
        task = Task(one.query, distinct)
        tasks.setdefault((one.query.text, list_key(_texts(task))), task)
    return list(tasks.values())


def _texts(task: Task) -> list[str]:
    return [passage.text for passage in task.passages]
