"""The ASGI app: routes, layers, error answers, around one :class:`Service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from indexing.settings import Settings
from serving.access.gate import AccessMiddleware, Gate
from serving.cancellation import CancellationMiddleware
from serving.errors import install_error_handlers
from serving.guards import GuardMiddleware
from serving.limits import BodyLimitMiddleware
from serving.metrics import Metrics
from serving.middleware import RequestMiddleware
from serving.paths import DocumentPathMiddleware
from serving.routes import chat, conversations, documents, jobs, ops, pages, query, search
from serving.schemas import NewDocuments
from serving.state import Service, open_service

# Routes that read a long body themselves, against limits and a clock of their own.
_UPLOADS = frozenset({("POST", "/v1/documents")})
_WRITTEN = (("POST", "/v1/query"), ("POST", "/v1/chat/completions"))
_KB = 1000


def create_app(settings: Settings, service: Service | None = None) -> FastAPI:
    """Return the app.

    Args:
        settings: for limits and, without ``service``, for what the lifespan opens.
        service: an open service that the caller closes itself; None: the
            app opens one when it starts and closes it when it stops.
    """
    metrics = Metrics() if service is None else service.metrics
    gate = Gate(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = await open_service(settings, metrics) if service is None else service
        app.state.service = opened
        try:
            yield
        finally:
            await gate.close()
            if service is None:
                await opened.close()

    app = FastAPI(
        title="Winnow",
        version="1",
        summary="Hybrid search with exact citations over your documents.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    _add_layers(app, settings, metrics, gate)
    install_error_handlers(app)
    for subject in (search, query, chat, conversations, documents, jobs, ops, pages):
        app.include_router(subject.router)
    pages.mount_files(app)
    _describe(app)
    return app


def _add_layers(app: FastAPI, settings: Settings, metrics: Metrics, gate: Gate) -> None:
    """Add the layers, innermost first."""
    limits = settings.serving
    app.add_middleware(DocumentPathMiddleware)
    app.add_middleware(BodyLimitMiddleware, max_bytes=int(limits.max_query_kb * _KB), streaming=_UPLOADS)
    app.add_middleware(CancellationMiddleware, deadline_s=limits.deadline_s, others=_deadlines(settings))
    # Outside of everything that reads a body, inside of what a browser needs no key to be refused by.
    app.add_middleware(AccessMiddleware, gate=gate)
    app.add_middleware(GuardMiddleware, bound_host=limits.host, allowed_hosts=limits.allowed_hosts)
    app.add_middleware(RequestMiddleware, metrics=metrics)


def _deadlines(settings: Settings) -> dict[tuple[str, str], float | None]:
    """Return the routes with a clock of their own: uploads, and answers that a model writes."""
    deadlines: dict[tuple[str, str], float | None] = dict.fromkeys(_UPLOADS)
    if settings.generation.url is not None:
        # Every step has its own limit; this one only has to be longer than all of them.
        expanding = 3 * settings.expansion.timeout_s
        whole = settings.serving.deadline_s + expanding + settings.generation.timeout_s
        deadlines.update(dict.fromkeys(_WRITTEN, whole))
    return deadlines


def _describe(app: FastAPI) -> None:
    """Add to the OpenAPI document the model that no route has as a parameter."""

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            models = NewDocuments.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = schema["components"]["schemas"]
            schemas.update(models.pop("$defs", {}))
            schemas["NewDocuments"] = models
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
