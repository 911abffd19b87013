"""Settings of a teacher: how it is asked, where it is, what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from distill.layouts import Layout
from indexing.settings import Section

Method = Literal["generative-scoring", "completions", "score", "listwise", "precomputed"]
PromptName = Literal["yes-no", "yes-no-chat", "qwen3-reranker", "permutation", "none"]

# The prompt that a method is used with unless another is named.
DEFAULT_PROMPTS: dict[Method, PromptName] = {
    "generative-scoring": "yes-no",
    "completions": "yes-no",
    "score": "none",
    "listwise": "permutation",
    "precomputed": "none",
}
_ALLOWED: dict[Method, tuple[PromptName, ...]] = {
    "generative-scoring": ("yes-no", "yes-no-chat", "qwen3-reranker"),
    "completions": ("yes-no", "yes-no-chat", "qwen3-reranker"),
    "score": ("none",),
    "listwise": ("permutation",),
    "precomputed": ("none",),
}


class TeacherSettings(Section):
    """One teacher."""

    kind: Method = "generative-scoring"
    url: str = Field(
        "http://127.0.0.1:8000",
        pattern=r"^https?://[^/]",
        description="server root, or its OpenAI base (.../v1); not for precomputed",
    )
    model: str = Field("", description="name the server knows the model by; for precomputed: the teacher")
    api_key: SecretStr | None = None
    prompt: PromptName | None = Field(None, description="default: the one usual for the kind")
    instruction: str | None = Field(
        None, min_length=1, max_length=2000, description="what makes a passage relevant, in place of ours"
    )
    timeout_s: float = Field(120.0, gt=0, description="of one request")
    batch: int = Field(32, ge=1, le=1024, description="passages of one request of a pointwise teacher")
    labels: tuple[str, str] = Field(
        ("yes", "no"), description="the words for relevant and not; each must be one token"
    )
    cache_salt: str | None = Field(None, min_length=1, description="a prefix cache of this teacher's own")
    window: int = Field(20, ge=2, le=100, description="listwise: passages ranked in one request")
    step: int = Field(10, ge=1, description="listwise: how far the window moves")
    passes: int = Field(1, ge=1, le=10, description="listwise: times the windows go over the list")
    max_tokens: int = Field(1024, ge=16, description="listwise: longest answer, thinking included")
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="listwise: what the server calls it"
    )
    max_passage_words: int = Field(
        300, ge=20, description="listwise: words of a passage that are shown; a Chinese character is one"
    )
    temperature: float | None = Field(0.0, ge=0, le=2, description="listwise; none: not sent")
    thinking: bool | None = Field(
        None, description="listwise: enable_thinking of the chat template; none: not sent"
    )
    max_missing_share: float = Field(
        0.5, ge=0, le=1, description="listwise: an answer that leaves out more of its window is no label"
    )
    files: tuple[Path, ...] = Field((), description="precomputed: JSONL files, plain or gzipped")
    layout: Layout | None = Field(None, description="precomputed: layout of the files")

    @property
    def prompt_name(self) -> PromptName:
        """The prompt in use."""
        return self.prompt or DEFAULT_PROMPTS[self.kind]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prompt is not None and self.prompt not in _ALLOWED[self.kind]:
            raise ValueError(f"kind {self.kind!r} takes prompt: {', '.join(_ALLOWED[self.kind])}")
        if self.kind == "precomputed" and not (self.files and self.layout):
            raise ValueError("kind 'precomputed' needs files and layout")
        if self.step > self.window:
            raise ValueError(f"step {self.step} is larger than window {self.window}: it would skip passages")
        return self
