"""OpenTelemetry: a span for the request and one for each of its stages; off by default.

FastAPI makes the request's span and reads ``traceparent``; the stages below it
come from the same places that write the receipt (:mod:`retrieval.spans`).
Where the spans go, how many are kept and what the service is called is said by
the standard ``OTEL_*`` variables.  Queries, passages and answers are in none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexing.errors import MissingDependencyError, SettingsError
from indexing.settings import ServingSettings
from retrieval.spans import Kind, Span, use_recorder
from serving.access.principal import principal_of
from serving.context import request_id
from serving.threads import in_thread

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

# FastAPI's own switch: without it, FASTAPI_OTEL_AUTO_CONFIGURE could turn telemetry on behind our setting.
TELEMETRY_OFF: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
# Details that are words; what else is a word may hold something of a question or of a document.
_WORDS: Final = frozenset({"mode", "method", "rerank", "model", "kind", "route", "stepped_aside", "unit"})
_NS: Final = 1_000_000_000


class Tracing:
    """The tracer of one app.

    Args:
        provider: makes and exports spans; closed with the app.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("winnow")

    @property
    def options(self) -> TelemetryConfig:
        """What FastAPI is made with."""
        return {**TELEMETRY_OFF, "tracing": True, "tracer_provider": self._provider}

    async def close(self) -> None:
        """Export what is left; takes as long as the exporter's own limit at most."""
        await in_thread(self._provider.shutdown)


def open_tracing(settings: ServingSettings) -> Tracing | None:
    """Return the tracing that ``serving.tracing`` asks for, None by default.

    Raises:
        MissingDependencyError: the extra ``otel`` is not installed.
        SettingsError: the environment asks for another protocol than OTLP over HTTP.
    """
    if not settings.tracing:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependencyError("opentelemetry-sdk", "otel", "serving.tracing") from error
    # Read by the exporter itself everywhere else; here it would be ignored without a word.
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (asked := os.environ.get(name, "http/protobuf")) != "http/protobuf":
            raise SettingsError(f"{name} is {asked!r}; accepted: http/protobuf")
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    found = Resource.create()
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": "winnow"}))
    return found


class TracingMiddleware:
    """Hand each request a recorder for its stages, and name the request and its tenant in its span."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracer = tracing.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry import trace

        root = trace.get_current_span()
        if not root.is_recording():
            await self._app(scope, receive, send)
            return
        recorder = Recorder(self._tracer, root)
        use_recorder(recorder)
        root.set_attribute("winnow.request_id", request_id())

        async def send_named(message: Message) -> None:
            # Known by now, and the span ends with the last message.
            principal = principal_of(scope)
            if message["type"] == "http.response.start" and principal is not None:
                root.set_attribute("winnow.tenant", principal.tenant)
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            recorder.finish()


class Recorder:
    """The spans of one request, below its own."""

    def __init__(self, tracer: Tracer, root: OtelSpan) -> None:
        self._tracer = tracer
        self._root = root
        self._open: dict[str, Span] = {}

    @property
    def trace_id(self) -> str:
        return f"{self._root.get_span_context().trace_id:032x}"

    def begin(
        self, name: str, parent: Span | None, *, began: float | None = None, kind: Kind = "internal"
    ) -> _Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, set_span_in_context

        above = parent.otel if isinstance(parent, _Span) else self._root
        begun = None if began is None else time.time_ns() - int((time.perf_counter() - began) * _NS)
        made = self._tracer.start_span(
            name,
            context=set_span_in_context(above, Context()),
            kind=SpanKind.CLIENT if kind == "client" else SpanKind.INTERNAL,
            start_time=begun,
        )
        return _Span(made)

    def open(self, name: str, parent: Span | None) -> Span:
        self._open[name] = opened = self.begin(name, parent)
        return opened

    def close(self, name: str) -> Span | None:
        return self._open.pop(name, None)

    def finish(self) -> None:
        """End what the request left open: it failed there, or its client went away."""
        for left in self._open.values():
            left.end("Unfinished")
        self._open.clear()


class _Span:
    def __init__(self, otel: OtelSpan) -> None:
        self.otel = otel

    def set(self, details: Mapping[str, object]) -> None:
        for name, value in details.items():
            if isinstance(value, Mapping):
                self.set({f"{name}.{key}": one for key, one in value.items()})
            elif isinstance(value, bool | int | float) or (name in _WORDS and isinstance(value, str)):
                self.otel.set_attribute(f"winnow.{name}", value)

    def end(self, failed: str = "") -> None:
        from opentelemetry.trace import StatusCode

        if failed:
            self.otel.set_attribute("error.type", failed)
            self.otel.set_status(StatusCode.ERROR)
        self.otel.end()

    def headers(self) -> dict[str, str]:
        from opentelemetry.context import Context
        from opentelemetry.propagate import inject
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        # A context of its own: what a caller sent as baggage goes no further.
        inject(carrier, context=set_span_in_context(self.otel, Context()))
        return carrier
