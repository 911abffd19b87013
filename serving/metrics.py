"""Prometheus metrics, in a registry of their own (tests run several services)."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)
JOB_STATES = ("queued", "running", "succeeded", "failed", "partial")
PARTS = ("collection", "catalogue", "encoder", "reranker")

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """Every number the service exports; labels are bounded sets only."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._add_requests()
        self._add_searches()
        self._add_model_calls()
        self._add_contents()
        self._add_answers()

    def _add_requests(self) -> None:
        self.requests = Counter(
            "winnow_requests", "HTTP requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.latency = self._seconds(
            "winnow_request_seconds", "Seconds from request to the end of the answer", ["route"]
        )
        self.in_flight = Gauge("winnow_requests_in_flight", "HTTP requests now", registry=self.registry)
        self.refused = Counter(
            "winnow_refused",
            "Requests refused for want of a place: a connection, a turn to search",
            ["line"],
            registry=self.registry,
        )
        self.loop_lag = self._seconds(
            "winnow_loop_lag_seconds", "How late the event loop woke a sleeping task"
        )
        self.scrape_failures = Counter(
            "winnow_scrape_failures", "Times a part did not answer a scrape", ["part"], registry=self.registry
        )

    def _add_searches(self) -> None:
        self.stages = self._seconds("winnow_stage_seconds", "Seconds of each search stage", ["stage"])
        self.degraded = Counter(
            "winnow_degraded", "Searches answered without a stage that was asked for", registry=self.registry
        )
        self.part_failures = Counter(
            "winnow_part_failures",
            "Searches that a part failed: they ended in an error, or were answered without it",
            ["part"],
            registry=self.registry,
        )
        for part in PARTS:
            self.part_failures.labels(part)
        self.reranker_changes = Counter(
            "winnow_reranker_changes",
            "Promoted models taken, or refused while the old one stayed",
            ["result"],
            registry=self.registry,
        )

    def _add_model_calls(self) -> None:
        self.batch_size = Histogram(
            "winnow_batch_texts",
            "Texts in one model call",
            ["worker"],
            buckets=_BATCH,
            registry=self.registry,
        )
        self.batch_seconds = self._seconds("winnow_batch_seconds", "Seconds in the model", ["worker"])
        self.batch_wait = self._seconds(
            "winnow_batch_wait_seconds", "Longest wait in line of a batch's texts", ["worker"]
        )
        self.queue_depth = Gauge(
            "winnow_queue_depth", "Texts in line for the model", ["worker"], registry=self.registry
        )

    def _add_contents(self) -> None:
        self.collection_generation = Gauge(
            "winnow_collection_generation", "Generation that answers", registry=self.registry
        )
        self.points = Gauge("winnow_points", "Sentences in the collection", registry=self.registry)
        self.indexed_points = Gauge(
            "winnow_indexed_points", "Of these, in the HNSW graph", registry=self.registry
        )
        self.documents = Gauge("winnow_documents", "Documents in the catalogue", registry=self.registry)
        self.jobs = Gauge("winnow_jobs", "Most recent jobs by state", ["state"], registry=self.registry)
        self.ingest_restarts = Counter(
            "winnow_ingest_restarts", "Times the ingest process ended early", registry=self.registry
        )

    def _add_answers(self) -> None:
        self.answers = Counter(
            "winnow_answers", "Questions answered, by how", ["kind"], registry=self.registry
        )
        self.generation_failures = Counter(
            "winnow_generation_failures",
            "Answers quoted because the language model failed",
            registry=self.registry,
        )
        self.prompt_tokens = Counter("winnow_prompt_tokens", "Tokens sent", registry=self.registry)
        self.cached_tokens = Counter(
            "winnow_cached_prompt_tokens", "Of these, served by the prefix cache", registry=self.registry
        )
        self.completion_tokens = Counter("winnow_completion_tokens", "Tokens written", registry=self.registry)
        self.first_token = self._seconds("winnow_first_token_seconds", "Seconds to an answer's first token")

    def _seconds(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Histogram:
        return Histogram(name, help_text, labels, buckets=_SECONDS, registry=self.registry)

    def observe_batch(self, worker: str) -> Callable[[int, float, float], None]:
        """Return the callback a batch worker reports its calls to."""
        size = self.batch_size.labels(worker)
        seconds = self.batch_seconds.labels(worker)
        wait = self.batch_wait.labels(worker)

        def observe(count: int, model_s: float, waited_s: float) -> None:
            size.observe(count)
            seconds.observe(model_s)
            wait.observe(waited_s)

        return observe

    def watch_queue(self, worker: str, depth: Callable[[], int]) -> None:
        """Read a worker's line at each scrape."""
        self.queue_depth.labels(worker).set_function(lambda: float(depth()))

    def count_jobs(self, states: Iterable[str]) -> None:
        """Set the gauge of jobs by state; a state without jobs reads 0."""
        found = Tally(states)
        for state in JOB_STATES:
            self.jobs.labels(state).set(found[state])

    def render(self) -> bytes:
        """Return the text exposition."""
        return generate_latest(self.registry)
