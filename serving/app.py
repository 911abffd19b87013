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
from serving.overload import FullHouseMiddleware, TurnAwayMiddleware
from serving.paths import DocumentPathMiddleware
from serving.qdrant_api import routes as qdrant
from serving.qdrant_api.shape import QdrantShapeMiddleware
from serving.routes import chat, conversations, documents, inspect, jobs, ops, pages, query, search
from serving.schemas import NewDocuments
from serving.state import Service, open_service
from serving.tracing import TELEMETRY_OFF, Tracing, TracingMiddleware, open_tracing

# Routes that read a long body themselves, against limits and a clock of their own.
_UPLOADS = frozenset({("POST", "/v1/documents")})
_WRITTEN = (("POST", "/v1/query"), ("POST", "/v1/chat/completions"))


def create_app(settings: Settings, service: Service | None = None, tracing: Tracing | None = None) -> FastAPI:
    """Return the app.

    Args:
        settings: for limits and, without ``service``, for what the lifespan opens.
        service: an open service that the caller closes itself; None: the
            app opens one when it starts and closes it when it stops.
        tracing: an exporter of the caller's, for tests; None: as the settings say.
    """
    metrics = Metrics() if service is None else service.metrics
    gate = Gate(settings)
    traced = tracing or open_tracing(settings.serving)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = await open_service(settings, metrics) if service is None else service
        app.state.service = opened
        try:
            yield
        finally:
            await gate.close()
            if traced is not None:
                await traced.close()
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
        telemetry=TELEMETRY_OFF if traced is None else traced.options,
    )
    _add_layers(app, settings, metrics, gate, traced)
    install_error_handlers(app)
    for subject in (search, query, chat, conversations, documents, inspect, jobs, ops, pages):
        app.include_router(subject.router)
    qdrant.add_routes(app, settings.serving.qdrant_dashboard)
    pages.mount_files(app)
    _describe(app)
    return app


def _add_layers(
    app: FastAPI, settings: Settings, metrics: Metrics, gate: Gate, tracing: Tracing | None
) -> None:
    """Add the layers, innermost first."""
    limits = settings.serving
    app.add_middleware(DocumentPathMiddleware)
    app.add_middleware(BodyLimitMiddleware, settings=limits, streaming=_UPLOADS)
    app.add_middleware(CancellationMiddleware, deadline_s=limits.deadline_s, others=_deadlines(settings))
    app.add_middleware(TurnAwayMiddleware)
    # Outside of everything that reads a body, inside of what a browser needs no key to be refused by.
    app.add_middleware(AccessMiddleware, gate=gate)
    app.add_middleware(GuardMiddleware, bound_host=limits.host, allowed_hosts=limits.allowed_hosts)
    app.add_middleware(QdrantShapeMiddleware)
    app.add_middleware(FullHouseMiddleware, metrics=metrics)
    if tracing is not None:
        app.add_middleware(TracingMiddleware, tracing=tracing)
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
