"""From the records of the other rooms to the JSON models."""

from __future__ import annotations

from collections.abc import Sequence

from indexing.catalog.records import DocumentRecord, JobRecord
from indexing.records import DEFAULT_TENANT
from indexing.settings import ExpansionSettings
from retrieval.generation.prompts import ContextPassage
from retrieval.records import Answer, Citation, Receipt, SearchRequest, SearchResponse, SearchResult, Stage
from serving.answering.records import Expand, Written
from serving.conversation_schemas import Evidence
from serving.document_schemas import DocumentReply
from serving.schemas import (
    CitationReply,
    ExpansionOptions,
    FlawReply,
    JobError,
    JobReply,
    QueryReply,
    RanksReply,
    ReceiptReply,
    ResultReply,
    ScoresReply,
    SearchBody,
    SearchReply,
    StageReply,
    UsageReply,
)
from serving.stream_schemas import LabelledReply


def search_request(body: SearchBody, tenant: str = DEFAULT_TENANT) -> SearchRequest:
    """Return the search that a body asks for; the tenant never comes from the body."""
    return SearchRequest(
        query=body.query,
        tenant=tenant,
        mode=body.mode,
        top_k=body.top_k,
        top_n=body.top_n,
        filter=body.filter,
        rerank=body.rerank,
        window_size=body.window_size,
        fusion=body.fusion,
        per_source_cap=body.per_source_cap,
    )


def expansions(asked: ExpansionOptions, defaults: ExpansionSettings) -> Expand:
    """Return the expansions to make: what was asked, else what is configured."""

    def either(wanted: bool | None, configured: bool) -> bool:
        return configured if wanted is None else wanted

    return Expand(
        classify=either(asked.classify, defaults.classify),
        rewrite=either(asked.rewrite, defaults.rewrite),
        hyde=either(asked.hyde, defaults.hyde),
        multi_query=defaults.multi_query if asked.multi_query is None else asked.multi_query,
        decompose=either(asked.decompose, defaults.decompose),
    )


def result_reply(result: SearchResult, *, admin: bool = False) -> ResultReply:
    """Return one result as JSON has it; only an admin is told whose key brought it."""
    ranks, scores = result.ranks, result.scores
    return ResultReply(
        id=result.id,
        doc_id=result.doc_id,
        source=result.source,
        title=result.title,
        section=result.section,
        page=result.page,
        text=result.text,
        window=result.window,
        start=result.start,
        end=result.end,
        score=result.score,
        ranks=RanksReply(dense=ranks.dense, sparse=ranks.sparse, fused=ranks.fused, rerank=ranks.rerank),
        scores=ScoresReply(
            dense=scores.dense, sparse=scores.sparse, fused=scores.fused, rerank=scores.rerank
        ),
        window_start=result.window_start,
        window_end=result.window_end,
        highlights=list(result.highlights),
        sources=list(result.sources),
        metadata=dict(result.metadata),
        version=result.version,
        indexed_at=result.indexed_at,
        ingested_by=result.ingested_by if admin else None,
    )


def receipt_reply(receipt: Receipt) -> ReceiptReply:
    """Return the receipt."""
    return ReceiptReply(
        stages=[stage_reply(stage) for stage in receipt.stages], degraded=list(receipt.degraded)
    )


def stage_reply(stage: Stage) -> StageReply:
    """Return one step; its details stand beside its name and time."""
    return StageReply.model_validate({**stage.details, "name": stage.name, "ms": round(stage.ms, 3)})


def search_reply(response: SearchResponse, *, admin: bool = False) -> SearchReply:
    """Return a whole search answer."""
    return SearchReply(
        results=[result_reply(result, admin=admin) for result in response.results],
        receipt=receipt_reply(response.receipt),
    )


def citation_reply(citation: Citation) -> CitationReply:
    """Return one citation as JSON has it."""
    return CitationReply(
        label=citation.label,
        doc_id=citation.doc_id,
        source=citation.source,
        page=citation.page,
        start=citation.start,
        end=citation.end,
        quote=citation.quote,
    )


def citation_replies(answer: Answer) -> list[CitationReply]:
    """Return an answer's citations in the order of their labels."""
    return [citation_reply(citation) for citation in answer.citations]


def labelled_replies(passages: Sequence[ContextPassage]) -> list[LabelledReply]:
    """Return the passages of a prompt by their labels, without their text."""
    return [
        LabelledReply(
            label=f"[{one.label}]",
            doc_id=one.doc_id,
            source=one.source,
            title=one.title,
            page=one.page_at(one.start),
            start=one.start,
            end=one.end,
        )
        for one in passages
    ]


def flaw_replies(written: Written) -> list[FlawReply]:
    """Return what does not hold in a written answer."""
    return [
        FlawReply(kind=flaw.kind, start=flaw.start, end=flaw.end, text=flaw.text) for flaw in written.flaws
    ]


def usage_reply(written: Written) -> UsageReply | None:
    """Return what the model's calls took, None where none was asked or it does not say."""
    usage = written.usage
    if usage is None:
        return None
    return UsageReply(
        model=written.model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        first_token_ms=None if usage.first_token_ms is None else round(usage.first_token_ms, 1),
        tokens_per_s=None if usage.tokens_per_s is None else round(usage.tokens_per_s, 2),
    )


def evidence_of(written: Written) -> Evidence:
    """Return what a conversation keeps beside an answer's text and citations."""
    return Evidence(
        results=[result_reply(result) for result in written.results],
        flaws=flaw_replies(written),
        receipt=receipt_reply(written.receipt),
        usage=usage_reply(written),
    )


def query_reply(written: Written, conversation_id: str | None = None) -> QueryReply:
    """Return an answer with the results it was drawn from."""
    return QueryReply(
        answer=written.answer.text,
        citations=citation_replies(written.answer),
        results=[result_reply(result) for result in written.results],
        receipt=receipt_reply(written.receipt),
        kind=written.answer.kind,
        flaws=flaw_replies(written),
        usage=usage_reply(written),
        conversation_id=conversation_id,
    )


def document_reply(record: DocumentRecord, *, admin: bool = False) -> DocumentReply:
    """Return one document's row; only an admin is told whose key brought it."""
    return DocumentReply(
        doc_id=record.doc_id,
        version=record.version,
        title=record.title,
        media_type=record.media_type,
        sentences=record.sentences,
        chars=record.chars,
        sources=list(record.sources),
        metadata=dict(record.metadata),
        indexed_at=record.indexed_at,
        ingested_by=record.ingested_by if admin else None,
    )


def job_reply(record: JobRecord) -> JobReply:
    """Return one job's row."""
    kinds = record.error_kinds or (None,) * len(record.errors)
    return JobReply(
        id=record.id,
        kind=record.kind,
        state=record.state,
        total=record.total,
        done=record.done,
        failed=record.failed,
        sentences=record.sentences,
        errors=[
            JobError(source=source, reason=reason, kind=kind)
            for (source, reason), kind in zip(record.errors, kinds, strict=True)
        ],
        created_at=record.created_at,
        updated_at=record.updated_at,
        message=record.message,
    )


def job_replies(records: Sequence[JobRecord]) -> list[JobReply]:
    """Return jobs in the order given."""
    return [job_reply(record) for record in records]
