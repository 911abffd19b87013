"""OpenTelemetry: the stages of a request as spans, on and off, in from a caller and out to the model."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from indexing.errors import MissingDependencyError, SettingsError
from indexing.records import Embedding
from indexing.settings import RerankSettings, RetrievalSettings, ServingSettings, load_settings
from retrieval.generation.client import open_generator
from retrieval.search import Searcher
from serving.app import create_app
from serving.tracing import Tracing, open_tracing
from tests.fakes.corpus import FakeCatalog, FakeCollection, FakeDocument, WordEncoders
from tests.fakes.openai_server import FakeOpenAI, serve
from tests.fakes.service import Harness, app_of, client_to, make_harness

pytestmark = pytest.mark.anyio
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
CANARY = "zyxquestioncanaryqqj"
ROOT = Path(__file__).resolve().parents[2]


def tracing_to(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)


def traced(harness: Harness, tracing: Tracing | None) -> httpx.AsyncClient:
    """Speak to the harness's application as a caller that has a trace of its own."""
    return client_to(app_of(harness.settings, harness.service, tracing), {"traceparent": PARENT})


def searcher_over(text: str) -> Searcher:
    documents, encoders = [FakeDocument("default", "a", text)], WordEncoders()

    async def embed(query: str) -> Embedding:
        return encoders.embed_queries([query])[0]

    return Searcher(
        FakeCollection(documents, encoders),  # type: ignore[arg-type]
        FakeCatalog(documents),
        embed,
        retrieval=RetrievalSettings(),
        reranking=RerankSettings(),
    )


def tree(spans: tuple[ReadableSpan, ...]) -> set[str]:
    """Each span as the path from the request's."""
    by_id = {span.context.span_id: span for span in spans}

    def path(span: ReadableSpan) -> str:
        above = by_id.get(span.parent.span_id) if span.parent else None
        return span.name if above is None else f"{path(above)} > {span.name}"

    return {path(span) for span in spans}


def words_of(spans: tuple[ReadableSpan, ...]) -> str:
    return " ".join(f"{span.name} {span.to_json()}" for span in spans)


async def test_a_search_has_a_span_for_each_stage_and_goes_on_with_the_caller_s_trace(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    harness = await make_harness(tmp_path)
    harness.service.searcher = searcher_over("Open a file with open. Close it when done.")
    async with traced(harness, tracing_to(exporter)) as client:
        answer = await client.post("/v1/search", json={"query": f"open a file {CANARY}"})
        assert answer.status_code == 200
        stages = {stage["name"] for stage in answer.json()["receipt"]["stages"]}
    await harness.close()
    spans = exporter.get_finished_spans()
    assert stages == {"embed", "retrieve", "fuse", "windows", "rerank"}
    top = "POST /v1/search"
    assert tree(spans) == {top, f"{top} > search", *(f"{top} > search > {stage}" for stage in stages)}
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    root = next(span for span in spans if span.name == top)
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == PARENT.split("-")[2]
    assert root.attributes is not None
    assert root.attributes["winnow.request_id"] == answer.headers["x-request-id"]
    assert root.attributes["winnow.tenant"] == "default"
    search = next(span for span in spans if span.name == "search")
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
        if span.name in stages:
            assert search.start_time - 1e6 <= span.start_time <= span.end_time <= search.end_time + 1e6
    assert CANARY not in words_of(spans)


@pytest.mark.parametrize("mode", ["compact", "refine"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_written_answer_s_call_of_the_model_stands_below_its_stage(
    tmp_path: Path, stream: bool, mode: str
) -> None:
    exporter = InMemorySpanExporter()
    async with serve(FakeOpenAI()) as model:
        settings = load_settings(home=tmp_path, generation={"url": model.url})
        harness = await make_harness(
            tmp_path,
            generator=open_generator(settings.generation, tmp_path),
            generation={"url": model.url, "min_support": 0.0, "passages": "windows"},
        )
        body = {"query": f"open a file {CANARY}", "hyde": True, "stream": stream, "response_mode": mode}
        async with traced(harness, tracing_to(exporter)) as client:
            assert (await client.post("/v1/query", json=body)).status_code == 200
        await harness.close()
        sent = [call.headers.get("traceparent", "") for call in model.calls]
    spans = exporter.get_finished_spans()
    top = "POST /v1/query"
    wanted = {"hyde", "hyde > chat", "search", "generate", "generate > chat", "check"}
    assert {f"{top} > {name}" for name in wanted} <= tree(spans)
    chats = {f"00-{TRACE}-{span.context.span_id:016x}-01" for span in spans if span.name == "chat"}
    assert set(sent) == chats, "the model's server is told the span that calls it"
    assert not [span.name for span in spans if "error.type" in (span.attributes or {})]
    assert CANARY not in words_of(spans)


async def test_a_model_that_fails_ends_its_span_as_failed(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    async with serve(FakeOpenAI(fault="500")) as model:
        settings = load_settings(home=tmp_path, generation={"url": model.url})
        harness = await make_harness(
            tmp_path,
            generator=open_generator(settings.generation, tmp_path),
            generation={"url": model.url, "passages": "windows"},
        )
        async with traced(harness, tracing_to(exporter)) as client:
            answer = await client.post("/v1/query", json={"query": "open a file"})
            assert answer.json()["kind"] == "extractive"
        await harness.close()
    by_name = {span.name: span for span in exporter.get_finished_spans()}
    assert {"generate", "chat", "answer"} <= set(by_name)
    for name in ("generate", "chat"):
        assert by_name[name].attributes is not None
        assert by_name[name].attributes["error.type"] == "GenerationError"
        assert not by_name[name].status.is_ok


async def test_off_nothing_is_recorded_and_nothing_goes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with serve(FakeOpenAI()) as model:
        settings = load_settings(home=tmp_path, generation={"url": model.url})
        harness = await make_harness(
            tmp_path,
            generator=open_generator(settings.generation, tmp_path),
            generation={"url": model.url, "passages": "windows"},
        )
        app = create_app(harness.settings, harness.service)
        assert not app._native_telemetry.enabled()
        assert "TracingMiddleware" not in str(app.user_middleware)
        async with traced(harness, None) as client:
            assert (await client.post("/v1/query", json={"query": "open a file"})).status_code == 200
        await harness.close()
        assert model.calls
        assert not [call for call in model.calls if "traceparent" in call.headers]


def test_off_the_sdk_is_not_even_imported() -> None:
    code = (
        "import sys; from indexing.settings import load_settings; from serving.app import create_app; "
        "create_app(load_settings()); print('opentelemetry.sdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingDependencyError, match=r"winnow-search\[otel\]"):
        open_tracing(ServingSettings(tracing=True))
    assert open_tracing(ServingSettings()) is None


def test_a_protocol_that_would_be_ignored_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SettingsError, match="http/protobuf"):
        open_tracing(ServingSettings(tracing=True))


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A server that takes OTLP over HTTP."""
    taken: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", taken
    finally:
        server.shutdown()
        server.server_close()


async def test_spans_reach_the_collector_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as (url, taken):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        tracing = open_tracing(ServingSettings(tracing=True))
        assert tracing is not None
        harness = await make_harness(tmp_path, tracing=True)
        async with traced(harness, tracing) as client:
            assert (await client.post("/v1/search", json={"query": "open a file"})).status_code == 200
        await tracing.close()
        await harness.close()
    sent = [resource for request in taken for resource in request.resource_spans]
    said = {one.key: one.value.string_value for one in sent[0].resource.attributes}
    assert said["service.name"] == "winnow"
    assert said["deployment.environment.name"] == "test"
    names = {span.name for resource in sent for scope in resource.scope_spans for span in scope.spans}
    assert names == {"POST /v1/search", "search"}
