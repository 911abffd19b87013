"""From an error of ours to an HTTP answer: one table, one body (RFC 9457).

Errors that only the service can cause::

    WinnowError
    ├── InputError
    │   ├── UploadError              a body that is not the multipart or JSON we accept
    │   │   ├── UploadTooLargeError  more bytes than ``serving.max_upload_mb``
    │   │   └── UploadStalledError   the client stopped sending in the middle
    │   ├── UnauthenticatedError     no key, or one that is not valid here
    │   └── ForbiddenError           a browser page of another site, or a foreign Host
    │       └── ScopeError           the key's rights or tenants do not reach so far
    ├── CapacityError
    │   └── RateLimitedError         the key has used up its requests for now
    ├── StorageError                 the home folder does not take the upload
    └── GoldenError                  a model gives a wrong answer to a known question
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from indexing import errors as winnow
from serving.context import request_id

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"


class UploadError(winnow.InputError):
    """The body is neither the multipart form nor the JSON that is accepted."""


class UploadTooLargeError(UploadError):
    """The body is larger than the service takes."""


class UploadStalledError(UploadError):
    """The client stopped sending before the body was complete."""


class StorageError(winnow.WinnowError):
    """The upload could not be written: the disk is full, or not writable."""


class GoldenError(winnow.WinnowError):
    """A model answers, and its answer to the golden pair is wrong."""


class ForbiddenError(winnow.InputError):
    """The request comes from another site's page, or names a foreign host."""


class UnauthenticatedError(winnow.InputError):
    """The request has no key, or one that is not valid here."""


class ScopeError(ForbiddenError):
    """The caller is known and may not do this, or not for this tenant."""


class RateLimitedError(winnow.CapacityError):
    """The caller has sent as many requests as its key allows for now."""


# Every subclass of WinnowError has its own line: a test walks the family.
STATUS: Mapping[type[winnow.WinnowError], HTTPStatus] = {
    winnow.WinnowError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.SettingsError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.MissingDependencyError: HTTPStatus.NOT_IMPLEMENTED,
    winnow.InputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.FilterError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.QueryError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UploadError: HTTPStatus.BAD_REQUEST,
    UploadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UploadStalledError: HTTPStatus.REQUEST_TIMEOUT,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    ScopeError: HTTPStatus.FORBIDDEN,
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    StorageError: HTTPStatus.INSUFFICIENT_STORAGE,
    GoldenError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.NotFoundError: HTTPStatus.NOT_FOUND,
    winnow.ReadError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.UnsupportedFormatError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    winnow.DamagedFileError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.EncryptedFileError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.EmptyFileError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.ReadLimitError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.ParserCrashError: HTTPStatus.UNPROCESSABLE_ENTITY,
    winnow.FetchError: HTTPStatus.BAD_GATEWAY,
    winnow.FetchRefusedError: HTTPStatus.FORBIDDEN,
    winnow.EncoderError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.VectorError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.CollectionError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.CollectionUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.ConnectionLostError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.WireError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.FingerprintMismatchError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.DamagedShardError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.MismatchError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.CatalogError: HTTPStatus.INTERNAL_SERVER_ERROR,
    winnow.GenerationError: HTTPStatus.BAD_GATEWAY,
    winnow.GenerationUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.GenerationTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    winnow.GarbledAnswerError: HTTPStatus.BAD_GATEWAY,
    winnow.CapacityError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.QueueFullError: HTTPStatus.TOO_MANY_REQUESTS,
    winnow.IngestBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    winnow.DeadlineError: HTTPStatus.GATEWAY_TIMEOUT,
}


def status_of(error: winnow.WinnowError) -> HTTPStatus:
    """Return the HTTP status of an error: its own line, else its nearest ancestor's."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem(status: HTTPStatus, detail: str, *, kind: str = "about:blank") -> dict[str, object]:
    """Return the RFC 9457 body; ``type`` is a stable word a program can compare."""
    return {
        "type": kind,
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "request_id": request_id(),
    }


def winnow_problem(error: winnow.WinnowError) -> dict[str, object]:
    """Return the body for one of our errors; ``type`` is the class's name in words."""
    return problem(status_of(error), str(error), kind=winnow.kind_of(error))


def problem_response(body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem body as a response with its own status."""
    return JSONResponse(
        dict(body), status_code=int(str(body["status"])), headers=headers, media_type=PROBLEM_JSON
    )


def error_response(error: winnow.WinnowError) -> Response:
    """Return the response for one of our errors, with Retry-After where waiting helps."""
    headers: dict[str, str] = {}
    if isinstance(error, winnow.CapacityError):
        headers["retry-after"] = str(max(1, ceil(error.retry_after_s)))
    elif status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = 'Bearer realm="winnow"'
    if isinstance(error, UploadError):
        # The rest of the body has not been read: the connection cannot be reused.
        headers["connection"] = "close"
    return problem_response(winnow_problem(error), headers)


def internal_error_response() -> Response:
    """Return a 500 that tells nothing but where to look."""
    detail = "an unexpected error; the service's log has it under this request_id"
    return problem_response(problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, kind="internal-error"))


async def _on_winnow_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, winnow.WinnowError):
        raise error
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, winnow.CapacityError):
        logger.error("request_failed id=%s type=%s", request_id(), type(error).__name__, exc_info=error)
    return error_response(error)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    detail = status.description if error.detail in ("", status.phrase) else str(error.detail)
    return problem_response(problem(status, detail or status.phrase, kind=_title_slug(status)), error.headers)


async def _on_validation_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        body = problem(HTTPStatus.BAD_REQUEST, "the body is not valid JSON", kind="malformed-json")
        return problem_response(body)
    # The values themselves stay out of the answer: they may be whole documents.
    items = [
        {"field": ".".join(str(part) for part in item["loc"] if part != "body"), "message": item["msg"]}
        for item in found
    ]
    detail = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in items[:5])
    body = problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, kind="input")
    return problem_response({**body, "errors": items})


def _title_slug(status: HTTPStatus) -> str:
    return status.phrase.lower().replace(" ", "-").replace("'", "")


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of this app as problem+json."""
    app.add_exception_handler(winnow.WinnowError, _on_winnow_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
