"""Settings of a student: what it starts from and how much it reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distill.students.protocol import Kind
from indexing.settings import Section


class StudentSettings(Section):
    """What is trained."""

    kind: Kind = "cross-encoder"
    base: str = Field("all-MiniLM-L6-v2", description="a model folder, or the shipped all-MiniLM-L6-v2")
    name: str = Field("", description="name in the manifest; empty: the output folder's")
    max_tokens: int = Field(256, ge=16, le=8192, description="of a pair, or of one text (late interaction)")
    layers: int = Field(
        0, ge=0, le=200, description="the base's lowest transformer layers that are kept; 0: all"
    )
    head: Literal["auto", "fresh"] = Field(
        "auto", description="fresh: a new head even where the base has one"
    )
    scripts: tuple[str, ...] | None = Field(
        None, description="writing systems the model reads; None: what the base says, else all"
    )
    feedback_weight: float | None = Field(
        None,
        ge=0,
        description="late interaction: similarity to the other candidates; 0: none, None: the base's",
    )
    feedback_sharpness: float = Field(
        0.5, ge=0, description="late interaction: how much more the candidates with high scores count"
    )
