"""/v1/jobs: what the background indexing is doing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from serving.convert import job_replies, job_reply
from serving.deps import ServiceDep, TenantDep
from serving.replies import ModelResponse
from serving.routes.problems import NOT_FOUND
from serving.schemas import JobReply, JobsReply
from serving.threads import in_thread

router = APIRouter(tags=["jobs"])


@router.get("/v1/jobs", response_model=JobsReply, summary="Recent jobs")
async def list_jobs(
    service: ServiceDep, tenant: TenantDep, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> Response:
    """List jobs, newest first."""
    return ModelResponse(JobsReply(jobs=job_replies(await in_thread(service.catalog.jobs, tenant, limit))))


@router.get("/v1/jobs/{job_id}", response_model=JobReply, responses=NOT_FOUND, summary="One job")
async def read_job(job_id: str, service: ServiceDep, tenant: TenantDep) -> Response:
    """Return how far a job is and which of its files could not be read."""
    return ModelResponse(job_reply(await in_thread(service.catalog.job, tenant, job_id)))
