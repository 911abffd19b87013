"""The routes below ``/qdrant``: what reads is answered, what writes is refused, the rest is not there."""

from __future__ import annotations

import importlib
import json
import logging
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI
from fastapi import Path as InPath
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from indexing.errors import NotFoundError, SettingsError
from serving.deps import PrincipalDep, ServiceDep
from serving.errors import ForbiddenError
from serving.qdrant_api.shape import ASSETS, DASHBOARD, PREFIX
from serving.threads import in_thread

logger = logging.getLogger(__name__)
router = APIRouter(tags=["Qdrant, read-only"])

# What Qdrant's own client can call here, for the messages that refuse the rest.
_SERVED = (
    "GET /collections, /collections/{name}, /collections/{name}/exists, /aliases, "
    "/collections/{name}/points/{id}; POST /collections/{name}/points, /points/scroll, /points/query, "
    "/points/query/batch, /points/count, /facet"
)
_READ_ONLY = (
    "Forbidden: this interface only reads; documents are added and deleted at /v1/documents or with "
    "python -m indexing"
)
# POST requests of Qdrant's that write; any PUT, PATCH or DELETE does.
_WRITING_ENDS = ("/delete", "/clear", "/payload", "/vectors", "/points/batch", "/aliases", "/upload")
_WRITING_PARTS = ("/snapshots", "/cluster", "/shards", "/index")
_BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
}
_OK: dict[int | str, dict[str, Any]] = {200: {"description": "Qdrant's own answer to this request"}}
_ERRORS = {
    400: "The request asks for what is not served; the error says what is",
    404: "Not here",
    413: "The body is too large",
    429: "Too many requests wait",
    503: "A part of the service does not answer",
    504: "Not done within the deadline",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    **_OK,
    **{status: {"description": f"{why}, as Qdrant's error"} for status, why in _ERRORS.items()},
}

Name = Annotated[str, InPath(description="the collection's name: collection.name of the settings")]


async def _calls() -> ModuleType:
    """Return the module that imports Qdrant's client, imported off the event loop."""
    return await in_thread(importlib.import_module, "serving.qdrant_api.calls")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _plain(result: object, began: float) -> Response:
    body = {"result": result, "status": "ok", "time": time.perf_counter() - began}
    return _json(json.dumps(body).encode())


@router.get(PREFIX, include_in_schema=False)
@router.get(f"{PREFIX}/", responses=_OK, summary="Version")
async def root() -> Response:
    """The version of Qdrant's API that is spoken here."""
    calls = await _calls()
    return _json(json.dumps({"title": "Winnow, read-only", "version": calls.api_version()}).encode())


@router.get(f"{PREFIX}/collections", responses=_OK, summary="Collections")
async def collections(service: ServiceDep, _: PrincipalDep) -> Response:
    """The one collection there is."""
    return _plain({"collections": [{"name": service.settings.collection.name}]}, time.perf_counter())


@router.get(f"{PREFIX}/aliases", responses=_OK, summary="Aliases")
async def aliases(_: PrincipalDep) -> Response:
    """None."""
    return _plain({"aliases": []}, time.perf_counter())


@router.get(f"{PREFIX}/collections/{{name}}", responses=_RESPONSES, summary="One collection")
async def collection(name: Name, service: ServiceDep, principal: PrincipalDep) -> Response:
    """Counts of the caller's tenant, the vectors, the payload indexes."""
    began = time.perf_counter()
    calls = await _calls()
    calls.check_name(service, name)
    return _json(await calls.describe(service, principal, began))


@router.get(f"{PREFIX}/collections/{{name}}/exists", responses=_OK, summary="Whether it is there")
async def exists(name: Name, service: ServiceDep, _: PrincipalDep) -> Response:
    """Whether there is a collection of this name."""
    return _plain({"exists": name == service.settings.collection.name}, time.perf_counter())


@router.get(f"{PREFIX}/collections/{{name}}/points/{{point_id}}", responses=_RESPONSES, summary="One point")
async def one_point(name: Name, point_id: str, service: ServiceDep, principal: PrincipalDep) -> Response:
    """A point with its payload and vectors."""
    began = time.perf_counter()
    calls = await _calls()
    calls.check_name(service, name)
    return _json(await calls.point(service, principal, point_id, began))


def _operation(operation: str, summary: str) -> None:
    """Add the route of one request with a body."""

    async def answer(request: Request, name: Name, service: ServiceDep, principal: PrincipalDep) -> Response:
        began = time.perf_counter()
        calls = await _calls()
        calls.check_name(service, name)
        return _json(await calls.of_points(service, principal, operation, await request.body(), began))

    router.add_api_route(
        f"{PREFIX}/collections/{{name}}/{operation}",
        answer,
        methods=["POST"],
        name=f"qdrant {operation}",
        summary=summary,
        description=f"Qdrant's own request of this name, over the caller's tenant: {summary.lower()}.",
        responses=_RESPONSES,
        openapi_extra=_BODY,
    )


for _name, _summary in (
    ("points", "Points by id"),
    ("points/scroll", "Points, a page at a time"),
    ("points/count", "Number of points"),
    ("points/query", "Query"),
    ("points/query/batch", "Several queries"),
    ("facet", "Values of a field"),
):
    _operation(_name, _summary)


# What the dashboard asks besides: an honest "nothing of that here" keeps its pages whole.


@router.get(f"{PREFIX}/collections/{{name}}/{{what}}", include_in_schema=False)
async def about(name: Name, what: str, service: ServiceDep, principal: PrincipalDep) -> Response:
    """Aliases and snapshots: none; the cluster: one shard."""
    began = time.perf_counter()
    (await _calls()).check_name(service, name)
    if what == "aliases":
        return _plain({"aliases": []}, began)
    if what == "snapshots":
        return _plain([], began)
    if what == "cluster":
        held = await service.collection.count(tenant=principal.tenant)
        shard = {"shard_id": 0, "points_count": held, "state": "Active"}
        nobody: list[object] = []
        peers = {"remote_shards": nobody, "shard_transfers": nobody}
        return _plain({"peer_id": 0, "shard_count": 1, "local_shards": [shard], **peers}, began)
    raise NotFoundError(f"Not found: GET {what} is not served; accepted: {_SERVED}")


@router.get(f"{PREFIX}/{{what}}", include_in_schema=False)
async def of_the_server(what: str) -> Response:
    """Health, and the parts of a server that there are none of here."""
    if what in ("healthz", "livez", "readyz"):
        return PlainTextResponse("healthz check passed")
    nothing: dict[str, object] = {
        "cluster": {"status": "disabled"},
        "snapshots": [],
        "issues": {"issues": []},
        "telemetry": {"id": "winnow", "app": {"name": "winnow", "version": (await _calls()).api_version()}},
    }
    if what not in nothing:
        raise NotFoundError(f"Not found: GET /{what} is not served; accepted: {_SERVED}")
    return _plain(nothing[what], time.perf_counter())


def _writes(method: str, path: str) -> bool:
    if method in ("PUT", "PATCH", "DELETE"):
        return True
    return method == "POST" and (path.endswith(_WRITING_ENDS) or any(one in path for one in _WRITING_PARTS))


def mount_dashboard(app: FastAPI, folder: Path | None) -> None:
    """Serve the files of Qdrant's own dashboard at ``/qdrant/dashboard``.

    Raises:
        SettingsError: the folder has no ``index.html``.
    """
    if folder is None:
        return
    start = folder / "index.html"
    if not start.is_file():
        raise SettingsError(
            f"serving.qdrant_dashboard names {str(folder)!r}, which has no index.html; copy the folder "
            "/qdrant/static out of Qdrant's image, or leave the setting out"
        )

    # It finds the API by cutting "dashboard" off the end of its own address, and its code
    # relative to that address: so its page has no slash at the end, and its files stand beside it.
    @app.get(DASHBOARD, include_in_schema=False)
    async def dashboard() -> Response:
        return FileResponse(start, media_type="text/html; charset=utf-8")

    @app.get(f"{DASHBOARD}/", include_in_schema=False)
    async def dashboard_with_slash() -> Response:
        return RedirectResponse("../dashboard")

    app.mount(DASHBOARD, StaticFiles(directory=folder), name="qdrant-dashboard")
    if (folder / "assets").is_dir():
        app.mount(ASSETS, StaticFiles(directory=folder / "assets"), name="qdrant-assets")


def add_routes(app: FastAPI, dashboard: Path | None) -> None:
    """Add Qdrant's API to the app, last of it the answer to everything else below its prefix."""
    mount_dashboard(app, dashboard)
    app.include_router(router)

    @app.api_route(
        f"{PREFIX}/{{rest:path}}",
        methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        include_in_schema=False,
    )
    async def refuse(request: Request, rest: str) -> Response:
        if _writes(request.method, f"/{rest}"):
            raise ForbiddenError(_READ_ONLY)
        raise NotFoundError(f"Not found: {request.method} /{rest} is not served; accepted: {_SERVED}")
