"""Where the stages of a request become spans, when somebody records them.

Nobody does by default: then every function here is one look at a context
variable.  The service sets a :class:`SpanRecorder` for each request
(``serving.tracing``); what is recorded are names, times, counts and kinds,
never a query, a passage or an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

Kind = Literal["internal", "client"]


class Span(Protocol):
    """One span that has begun."""

    def set(self, details: Mapping[str, object]) -> None:
        """Keep the details that are counts or kinds."""
        ...

    def end(self, failed: str = "") -> None:
        """End the span; ``failed`` is the name of what went wrong, "" for nothing."""
        ...

    def headers(self) -> dict[str, str]:
        """Return the headers that carry the trace on to another server."""
        ...


class SpanRecorder(Protocol):
    """Records the spans of one request."""

    @property
    def trace_id(self) -> str: ...

    def begin(
        self, name: str, parent: Span | None, *, began: float | None = None, kind: Kind = "internal"
    ) -> Span:
        """Begin a span below ``parent``, None for the request's own, at a ``perf_counter()`` value."""
        ...

    def open(self, name: str, parent: Span | None) -> Span:
        """Begin a stage that :meth:`close` ends; at the latest the end of the request does."""
        ...

    def close(self, name: str) -> Span | None:
        """Take the open stage of that name."""
        ...


_RECORDER: ContextVar[SpanRecorder | None] = ContextVar("winnow_span_recorder", default=None)
_PARENT: ContextVar[Span | None] = ContextVar("winnow_span_parent", default=None)


def use_recorder(recorder: SpanRecorder | None) -> None:
    """Record the spans of this context, and of the tasks it starts, with ``recorder``."""
    _RECORDER.set(recorder)


def current_recorder() -> SpanRecorder | None:
    """Return who records this request's spans, None by default."""
    return _RECORDER.get()


def record_stage(name: str, began: float, details: Mapping[str, object]) -> None:
    """Record a stage that began at ``perf_counter()`` value ``began`` and ends now."""
    recorder = _RECORDER.get()
    if recorder is None:
        return
    span = recorder.close(name) or recorder.begin(name, _PARENT.get(), began=began)
    span.set(details)
    span.end()


def open_stage(name: str) -> Span | None:
    """Begin a stage that :func:`record_stage` or :func:`fail_stage` ends, for calls to go below it."""
    recorder = _RECORDER.get()
    return None if recorder is None else recorder.open(name, _PARENT.get())


def fail_stage(name: str, error: BaseException) -> None:
    """End an open stage as failed."""
    recorder = _RECORDER.get()
    span = None if recorder is None else recorder.close(name)
    if span is not None:
        span.end(type(error).__name__)


@contextmanager
def span(name: str, *, parent: Span | None = None, kind: Kind = "internal") -> Iterator[Span | None]:
    """Record what happens inside as one span; None when nobody records.

    It changes no context, so that it may stand in an asynchronous generator,
    whose steps run in different ones.
    """
    recorder = _RECORDER.get()
    if recorder is None:
        yield None
        return
    begun = recorder.begin(name, parent or _PARENT.get(), kind=kind)
    failed = ""
    try:
        yield begun
    except BaseException as error:
        failed = type(error).__name__
        raise
    finally:
        begun.end(failed)


@contextmanager
def span_around(name: str) -> Iterator[Span | None]:
    """Record what happens inside as one span, and the stages inside below it; for coroutines."""
    with span(name) as begun:
        if begun is None:
            yield None
            return
        token = _PARENT.set(begun)
        try:
            yield begun
        finally:
            _PARENT.reset(token)
