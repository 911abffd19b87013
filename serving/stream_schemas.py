"""The JSON of an answer's events that are not whole replies; the rules of ``serving.schemas`` hold."""

from __future__ import annotations

from serving.schemas import Offset, Reply


class LabelledReply(Reply):
    """A passage that the model was shown: what a label means while the answer is written."""

    label: str
    doc_id: str
    source: str
    title: str
    page: int | None
    start: Offset
    end: Offset


class PieceReply(Reply):
    """A piece of the answer; ``restart`` discards those before it."""

    text: str
    kind: str
    restart: bool


class DoneReply(Reply):
    """The end of a stream, with the text as it was checked."""

    request_id: str
    degraded: list[str]
    answer: str
    kind: str
    conversation_id: str | None
