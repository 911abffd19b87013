"""The JSON of ``/v1/inspect``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serving.schemas import Reply


class InspectedPoint(Reply):
    """One point in a list: a sentence and where it stands."""

    id: str
    doc_id: str
    ordinal: int
    title: str
    section: str
    page: int | None
    source: str
    text: str


class InspectedPoints(Reply):
    """A page of points; ``next`` is the ``after`` of the next page."""

    points: list[InspectedPoint]
    next: str | None
    total: int = Field(description="points under the same filter")


class TermReply(Reply):
    """A dimension of the sparse vector that is not zero; ``word`` is null where no word is known."""

    index: int
    word: str | None
    weight: float


class PointReply(Reply):
    """Everything that is stored of one point, as a person reads it."""

    id: str
    payload: dict[str, Any]
    terms: list[TermReply] = Field(description="heaviest first")
    dense_dimensions: int | None = Field(description="null: the dense encoder does not know this script")
    dense_begins: list[float] = Field(description="the dense vector's first numbers")
    before: list[InspectedPoint] = Field(description="the sentences before it, nearest last")
    after: list[InspectedPoint] = Field(description="the sentences after it, nearest first")


class MapPoint(Reply):
    """A point's place on the map, its document as a number in ``documents``."""

    id: str
    document: int
    x: float
    y: float
    text: str


class MapDocument(Reply):
    doc_id: str
    title: str


class MapReply(Reply):
    """A sample of points on a plane: the two directions in which their dense vectors differ most."""

    points: list[MapPoint]
    documents: list[MapDocument]
    explained: float = Field(description="share of the sample's variance that the plane shows, 0 to 1")
    total: int = Field(description="points that the sample was taken from")
