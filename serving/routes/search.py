"""POST /v1/search."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from serving.convert import search_reply, search_request
from serving.deps import PrincipalDep, ServiceDep
from serving.replies import ModelResponse
from serving.routes.problems import PROBLEMS
from serving.schemas import SearchBody, SearchReply
from serving.searching import recorded_search

router = APIRouter(tags=["search"])


@router.post("/v1/search", response_model=SearchReply, responses=PROBLEMS, summary="Ranked passages")
async def search(body: SearchBody, service: ServiceDep, principal: PrincipalDep) -> Response:
    """Find passages and say, stage by stage, how they were ranked."""
    response = await recorded_search(service, search_request(body, principal.tenant))
    return ModelResponse(search_reply(response, admin=principal.is_admin))
