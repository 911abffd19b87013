"""The JSON of the HTTP interface: names and order are a contract.

Fields may be added, never renamed.  Requests refuse unknown fields, so that a
misspelt option is an error and not a silently ignored wish.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from indexing.records import Mode, Scalar
from retrieval.generation.protocol import PassageUnit, ResponseMode

Fusion = Literal["rrf", "dbsf", "weighted"]
Offset = Annotated[int, Field(ge=0, description="in characters (Unicode code points) of the extracted text")]
IngestedBy = Annotated[
    str | None,
    Field(description="id of the key that brought this content; null: none, or the caller lacks `admin`"),
]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reply(BaseModel):
    model_config = ConfigDict(frozen=True)


_FILTER_HELP = (
    'Conditions that must all hold: {"section": "A > B"} equals, {"doc_id": ["a", "b"]} any of, '
    '{"page": {"gte": 3, "lt": 9}} range, {"section": {"prefix": "A"}} starts with, '
    '{"year": {"not": "2019"}} none of. Names that are not core fields address metadata.'
)


class SearchBody(Request):
    """A search; a field left out takes the configured default."""

    query: str = Field(min_length=1, description="what to look for")
    mode: Mode | None = Field(None, description="which sides search: meaning, words, or both")
    top_k: int | None = Field(None, ge=1, le=1000, description="candidates fetched from each side")
    top_n: int | None = Field(None, ge=1, le=1000, description="results returned")
    filter: dict[str, Any] | None = Field(None, description=_FILTER_HELP)
    rerank: bool | None = Field(None, description="false skips the reranker, true asks for it")
    window_size: int | None = Field(None, ge=0, le=50, description="sentences shown on each side of a hit")
    fusion: Fusion | None = Field(None, description="how the two sides' rankings become one")
    per_source_cap: int | None = Field(
        None, ge=0, le=1000, description="passages of one source before those of the others; 0: any number"
    )

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"query": "how do I open a file", "top_n": 5},
                {"query": "closing files", "mode": "hybrid", "filter": {"section": {"prefix": "Tutorial"}}},
            ]
        },
    )


class ExpansionOptions(Request):
    """What the language model does to the question first; null takes the configured default."""

    classify: bool | None = Field(None, description="let the model answer directly or ask back")
    rewrite: bool | None = Field(None, description="make a follow-up question stand alone")
    hyde: bool | None = Field(None, description="search for a hypothetical passage too")
    multi_query: int | None = Field(None, ge=0, le=5, description="paraphrases searched for too")
    decompose: bool | None = Field(None, description="search for the parts of the question too")


class QueryBody(ExpansionOptions, SearchBody):
    """A question; a model writes the answer where one is configured, else sentences are quoted."""

    stream: bool = Field(False, description="answer as server-sent events")
    max_sentences: int | None = Field(None, ge=1, le=20, description="longest quoted answer, in sentences")
    generate: bool | None = Field(None, description="false quotes sentences even where a model is configured")
    conversation_id: str | None = Field(None, description="go on with this conversation, and keep the turn")
    response_mode: ResponseMode | None = Field(None, description="one prompt, refining, or a tree of answers")
    passages: PassageUnit | None = Field(None, description="what the model reads of the documents")
    max_tokens: int | None = Field(None, ge=1, le=8192, description="longest written answer")
    temperature: float | None = Field(None, ge=0, le=2)

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"query": "how do I open a file", "top_n": 5, "stream": False}]},
    )


class RanksReply(Reply):
    """Ranks from 1 after each stage; null where the stage did not see the result."""

    dense: int | None
    sparse: int | None
    fused: int | None
    rerank: int | None


class ScoresReply(Reply):
    """Raw scores: cosine, term product, fused score, logit."""

    dense: float | None
    sparse: float | None
    fused: float | None
    rerank: float | None


class ResultReply(Reply):
    """One passage: the matched sentence and the window around it."""

    id: str
    doc_id: str
    source: str
    title: str
    section: str
    page: int | None
    text: str = Field(description="the matched sentence: the document's text from start to end")
    window: str = Field(description="the document's text from window_start to window_end")
    start: Offset
    end: Offset
    score: float = Field(description="what the last stage ordered by: fused score, logit, or a blend")
    ranks: RanksReply
    scores: ScoresReply
    window_start: Offset
    window_end: Offset
    highlights: list[tuple[int, int]] = Field(description="matched sentences inside the window, as offsets")
    sources: list[str] = Field(description="every file that holds this document")
    metadata: dict[str, Scalar]
    version: str = Field("", description="hash of the document's content, as it was indexed")
    indexed_at: str = Field("", description="when this content was indexed; UTC")
    ingested_by: IngestedBy = None


class StageReply(Reply):
    """One step of the search; further fields say what it did."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    ms: float


class ReceiptReply(Reply):
    """How the results came about; ``degraded`` names what failed on the way."""

    stages: list[StageReply]
    degraded: list[str]


class SearchReply(Reply):
    results: list[ResultReply]
    receipt: ReceiptReply


class CitationReply(Reply):
    """A quote: the document's extracted text from start to end."""

    label: str
    doc_id: str
    source: str
    page: int | None
    start: Offset
    end: Offset
    quote: str


class FlawReply(Reply):
    """Something in a written answer that does not hold."""

    kind: Literal["unknown label", "quote not found", "no label", "not supported"]
    start: Offset
    end: Offset
    text: str


class UsageReply(Reply):
    """What an answer took, by the model server's counts; null where it does not say."""

    model: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    first_token_ms: float | None
    tokens_per_s: float | None


class QueryReply(Reply):
    answer: str
    citations: list[CitationReply]
    results: list[ResultReply]
    receipt: ReceiptReply
    kind: Literal["extractive", "none", "generated"] = Field(
        description="extractive: sentences quoted verbatim; none: not in the documents; generated: written"
    )
    flaws: list[FlawReply] = Field(
        default_factory=list, description="what does not hold in a written answer, by place in its text"
    )
    usage: UsageReply | None = Field(None, description="the model's own counts; null where none was asked")
    conversation_id: str | None = None


class NewDocument(Request):
    """A document sent as JSON; without ``doc_id`` it gets one from its content."""

    doc_id: str | None = Field(None, min_length=1, max_length=512, pattern=r"^[^\x00-\x1f]+$")
    title: str = Field("", max_length=2000)
    text: str = Field(min_length=1)
    metadata: dict[str, Scalar] = Field(default_factory=dict)


class NewDocuments(Request):
    """Documents to add or to replace, or the URLs to fetch them from; not both in one request."""

    documents: list[NewDocument] = Field(default_factory=list, max_length=100_000)
    urls: list[Annotated[str, Field(min_length=1, max_length=2000)]] = Field(
        default_factory=list, max_length=10_000, description="hosts must be in fetch.allowed_hosts"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> NewDocuments:
        if bool(self.documents) == bool(self.urls):
            raise ValueError('give "documents" or "urls", at least one, and not both')
        return self

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "documents": [
                        {
                            "doc_id": "note-1",
                            "title": "Files",
                            "text": "Open a file with open(). Close it when you are done.",
                            "metadata": {"year": 2024},
                        }
                    ]
                }
            ]
        },
    )


class JobCreated(Reply):
    job_id: str


class JobError(Reply):
    source: str
    reason: str
    kind: str | None = Field(
        None, description="which error, in words: damaged-file, read-limit, ...; null while the job runs"
    )


class JobReply(Reply):
    """A background job; ``partial`` means that some of its files could not be read."""

    id: str
    kind: str
    state: Literal["queued", "running", "succeeded", "failed", "partial"]
    total: int
    done: int
    failed: int
    sentences: int
    errors: list[JobError]
    created_at: str
    updated_at: str
    message: str


class JobsReply(Reply):
    jobs: list[JobReply]


class FacetValue(Reply):
    value: str | int | bool
    count: int


class EncodersReply(Reply):
    """What made the vectors; a fingerprint changes with anything that changes a vector."""

    dense: str
    dense_fingerprint: str
    dimensions: int
    sparse: str
    sparse_fingerprint: str
    reranker: str | None


class DefaultsReply(Reply):
    """What a search takes for the fields it leaves out."""

    mode: Mode
    fusion: Fusion
    top_k: int
    top_n: int
    window_size: int


class GenerationReply(Reply):
    """The language model that writes answers, and what a question takes for the fields it leaves out."""

    model: str = Field(description='"unknown" until the server was asked and no name is configured')
    response_mode: ResponseMode
    passages: PassageUnit
    classify: bool
    rewrite: bool
    hyde: bool
    multi_query: int
    decompose: bool


class CollectionReply(Reply):
    """What the collection holds."""

    home: Literal["embedded", "memory", "server"]
    documents: int
    points: int
    indexed_points: int | None = Field(description="of all tenants; null without the scope admin")
    segments: int | None
    disk_bytes: int | None
    optimizing: bool
    read_only: bool
    collection_generation: int = Field(1, description="moves when another encoder's collection is served")
    encoders: EncodersReply
    defaults: DefaultsReply
    generation: GenerationReply | None = Field(None, description="null where answers are only quoted")
    sections: list[FacetValue]
    sources: list[FacetValue]


class HealthReply(Reply):
    status: Literal["ok"] = "ok"


class CheckReply(Reply):
    """One part; the service can answer without one that is not ``required``."""

    name: str
    ok: bool
    detail: str
    required: bool = True


class ReadyReply(Reply):
    ready: bool
    checks: list[CheckReply]


class Problem(Reply):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
