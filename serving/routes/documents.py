"""/v1/documents: upload, list, read, delete."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import PlainTextResponse
from starlette.requests import Request
from starlette.responses import Response

from serving.context import note
from serving.convert import document_reply
from serving.deps import PrincipalDep, ServiceDep, TenantDep
from serving.document_schemas import (
    DeletedReply,
    DocumentReply,
    DocumentsReply,
    SentenceReply,
    SentencesReply,
)
from serving.intake import receive_upload
from serving.paths import DocId
from serving.replies import ModelResponse
from serving.routes.problems import NOT_FOUND, UPLOAD_PROBLEMS
from serving.schemas import JobCreated
from serving.threads import in_thread

router = APIRouter(tags=["documents"])

_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                    "required": ["files"],
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/NewDocuments"}},
        },
    }
}

Limit = Annotated[int, Query(ge=1, le=1000, description="rows on one page")]


@router.post(
    "/v1/documents",
    status_code=202,
    response_model=JobCreated,
    responses=UPLOAD_PROBLEMS,
    openapi_extra=_UPLOAD_BODY,
    summary="Add documents",
)
async def add_documents(request: Request, service: ServiceDep, tenant: TenantDep) -> Response:
    """Store files or JSON documents and index them in the background.

    The answer comes when the bytes are safe on disk; the job says how far the
    indexing is, and goes on after a restart.
    """
    job = await receive_upload(request, service, tenant)
    note("files", job.total)
    return ModelResponse(JobCreated(job_id=job.id), HTTPStatus.ACCEPTED)


@router.get("/v1/documents", response_model=DocumentsReply, summary="List documents")
async def list_documents(
    service: ServiceDep,
    principal: PrincipalDep,
    limit: Limit = 100,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> Response:
    """List documents by id, a page at a time."""
    tenant = principal.tenant
    # One more than asked tells whether there is a next page.
    found = await in_thread(service.catalog.documents, tenant, limit=limit + 1, after=after)
    total = await in_thread(service.catalog.count_documents, tenant)
    page = found[:limit]
    return ModelResponse(
        DocumentsReply(
            documents=[document_reply(record, admin=principal.is_admin) for record in page],
            next=page[-1].doc_id if len(found) > limit else None,
            total=total,
        )
    )


@router.get(
    "/v1/documents/{doc_id}/text",
    response_class=PlainTextResponse,
    responses=NOT_FOUND,
    summary="Extracted text",
)
async def read_text(
    doc_id: DocId,
    service: ServiceDep,
    tenant: TenantDep,
    start: Annotated[int | None, Query(ge=0, description="first character")] = None,
    end: Annotated[int | None, Query(ge=0, description="character after the last")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the text that every offset points into, or a slice of it (Unicode code points)."""
    record = await in_thread(service.catalog.document, tenant, doc_id)
    tag = f'"{record.version}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if if_none_match is not None and tag in if_none_match:
        return Response(status_code=304, headers=headers)

    def encoded() -> bytes:
        # A lone surrogate cannot be sent as UTF-8; "?" keeps the offsets right.
        return service.catalog.text(tenant, doc_id, start, end).encode("utf-8", "replace")

    return PlainTextResponse(await in_thread(encoded), headers=headers)


@router.get(
    "/v1/documents/{doc_id}/sentences",
    response_model=SentencesReply,
    responses=NOT_FOUND,
    summary="Sentences",
)
async def list_sentences(
    doc_id: DocId,
    service: ServiceDep,
    tenant: TenantDep,
    first: Annotated[int, Query(ge=0, description="ordinal of the first sentence")] = 0,
    limit: Limit = 200,
) -> Response:
    """List a document's sentences with their places, sections and pages."""
    record = await in_thread(service.catalog.document, tenant, doc_id)
    sentences = await in_thread(service.catalog.sentences, tenant, doc_id)
    page = sentences[first : first + limit]
    following = first + len(page)
    return ModelResponse(
        SentencesReply(
            doc_id=doc_id,
            version=record.version,
            total=len(sentences),
            sentences=[
                SentenceReply(
                    ordinal=one.ordinal, start=one.start, end=one.end, section=one.section, page=one.page
                )
                for one in page
            ],
            next=following if page and following < len(sentences) else None,
        )
    )


@router.get(
    "/v1/documents/{doc_id}", response_model=DocumentReply, responses=NOT_FOUND, summary="One document"
)
async def read_document(doc_id: DocId, service: ServiceDep, principal: PrincipalDep) -> Response:
    """Return what the catalogue knows of a document."""
    record = await in_thread(service.catalog.document, principal.tenant, doc_id)
    return ModelResponse(document_reply(record, admin=principal.is_admin))


@router.delete(
    "/v1/documents/{doc_id}", response_model=DeletedReply, responses=NOT_FOUND, summary="Delete a document"
)
async def delete_document(doc_id: DocId, service: ServiceDep, tenant: TenantDep) -> Response:
    """Delete a document from the index; no search finds it any more when this answers.

    The file it came from stays where it is.
    """
    await service.deleter.delete(tenant, doc_id)
    return ModelResponse(DeletedReply(doc_id=doc_id, deleted=True))
