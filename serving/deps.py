"""What a route asks for: the service, and on whose behalf it acts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from serving.access.principal import Principal, principal_of
from serving.errors import UnauthenticatedError
from serving.state import Service


async def get_service(request: Request) -> Service:
    """Return the service of this app; set before the first request is taken."""
    service: Service = request.app.state.service
    return service


async def get_principal(request: Request) -> Principal:
    """Return the caller, whom the access layer has let in.

    Raises:
        UnauthenticatedError: there is none; no tenant is assumed.
    """
    principal = principal_of(request.scope)
    if principal is None:
        raise UnauthenticatedError("this needs a caller")
    return principal


async def get_tenant(principal: Annotated[Principal, Depends(get_principal)]) -> str:
    """Return the tenant of the caller; it is decided by the key and nowhere in a body."""
    return principal.tenant


ServiceDep = Annotated[Service, Depends(get_service)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]
TenantDep = Annotated[str, Depends(get_tenant)]
