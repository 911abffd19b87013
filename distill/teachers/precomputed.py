"""A teacher whose scores are in files: labels that were made elsewhere."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Self

from distill.errors import UnknownPairError
from distill.layouts import read_labels
from distill.records import CandidateList, LabelledList, Passage, Query
from distill.teachers.protocol import TeacherAnswer, TeacherCard, make_card
from distill.teachers.settings import TeacherSettings
from indexing.errors import InputError, SettingsError


class PrecomputedTeacher:
    """The labelled lists of one teacher, looked up by query id and passage id.

    Scores are comparable within a list only, so a call is answered from one
    list that holds all its passages.  Where the files have the same passage
    in several lists of a query, the list asked for in full comes first.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        if settings.layout is None:
            raise SettingsError("a precomputed teacher needs a layout")
        found = [one for path in settings.files for one in read_labels(path, settings.layout)]
        name = _chosen(settings, {one.teacher for one in found})
        self.lists = tuple(one for one in found if one.teacher == name)
        self._of_query: dict[str, list[LabelledList]] = defaultdict(list)
        for one in self.lists:
            self._of_query[one.query.query_id].append(one)
        scales = {one.scale for one in self.lists}
        self._scale = scales.pop()
        if scales:
            raise InputError(f"the files hold scores of teacher {name!r} on several scales")
        content = hashlib.sha256()
        for path in settings.files:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        self._card = make_card(
            model=name,
            kind="listwise" if self._scale == "rank" else "pointwise",
            method=settings.kind,
            prompt_name="none",
            prompt="",
            activation="as in the files",
            scale=self._scale,
            parameters={"layout": settings.layout, "files_sha256": content.hexdigest()},
        )

    @property
    def card(self) -> TeacherCard:
        return self._card

    @property
    def candidates(self) -> tuple[CandidateList, ...]:
        """What there is to import: every list's query and passages."""
        return tuple(CandidateList(one.query, one.passages) for one in self.lists)

    async def score(self, query: Query, passages: Sequence[Passage]) -> TeacherAnswer:
        """Return the scores of the files.

        Raises:
            UnknownPairError: no list of the query holds all the passages, or a
                text is not the one that was judged.
        """
        held = self._of_query.get(query.query_id)
        if not held:
            raise UnknownPairError(f"the files of {self.card.model!r} have no query {query.query_id!r}")
        wanted = {one.doc_id for one in passages}
        fitting = [one for one in held if wanted <= {passage.doc_id for passage in one.passages}]
        if not fitting:
            known = {passage.doc_id for one in held for passage in one.passages}
            missing = sorted(wanted - known)
            what = f"no score for {', '.join(missing[:5])}" if missing else "no list with all these passages"
            raise UnknownPairError(
                f"the files of {self.card.model!r} have {what} of query {query.query_id!r}"
            )
        chosen = min(fitting, key=lambda one: len(one.passages))
        return TeacherAnswer(_looked_up(chosen, query, passages), self._scale)

    async def aclose(self) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None


def _looked_up(chosen: LabelledList, query: Query, passages: Sequence[Passage]) -> tuple[float, ...]:
    if chosen.query.text.split() != query.text.split():
        raise UnknownPairError(
            f"query {query.query_id!r} was judged with another text: {chosen.query.text!r}"
        )
    rows = {
        passage.doc_id: (passage.text, score)
        for passage, score in zip(chosen.passages, chosen.scores, strict=True)
    }
    for one in passages:
        if rows[one.doc_id][0].split() != one.text.split():
            raise UnknownPairError(
                f"passage {one.doc_id!r} of query {query.query_id!r} was judged with another text"
            )
    return tuple(rows[one.doc_id][1] for one in passages)


def _chosen(settings: TeacherSettings, names: set[str]) -> str:
    if settings.model:
        if settings.model not in names:
            raise InputError(
                f"the files have no teacher {settings.model!r}; they have: "
                f"{', '.join(sorted(names)) or 'none'}"
            )
        return settings.model
    if len(names) != 1:
        raise SettingsError(
            f"name one of the teachers in the files: {', '.join(sorted(names))}"
            if names
            else "no rows in the files"
        )
    return next(iter(names))
