"""What a route asks for: the service, and on whose behalf it acts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from indexing.records import DEFAULT_TENANT
from serving.state import Service


async def get_service(request: Request) -> Service:
    """Return the service of this app; set before the first request is taken."""
    service: Service = request.app.state.service
    return service


async def get_tenant() -> str:
    """Return the tenant of the caller; it is decided here and nowhere in a body.

    Without accounts there is one.
    """
    return DEFAULT_TENANT


ServiceDep = Annotated[Service, Depends(get_service)]
TenantDep = Annotated[str, Depends(get_tenant)]
