"""From an upload request to a queued job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict

from pydantic import ValidationError
from starlette.requests import Request

from indexing.catalog import JobRecord
from indexing.errors import InputError
from serving.access.principal import EVERYONE, principal_of
from serving.arrival import ArrivalClock
from serving.errors import UploadError, UploadTooLargeError
from serving.schemas import NewDocuments
from serving.state import Service
from serving.threads import to_the_end
from serving.uploads import MultipartSink, UploadFolder, write_documents

_MB = 1_000_000


async def receive_upload(request: Request, service: Service, tenant: str) -> JobRecord:
    """Store the body's files durably, queue their job, and return it.

    Raises:
        UploadError: the body is not what is accepted; nothing is kept of it.
        UploadTooLargeError: past ``serving.max_upload_mb`` (files) or
            ``serving.max_json_mb`` (JSON).
        UploadStalledError: no byte for ``serving.upload_idle_s``, or too few in all.
        StorageError: the home folder does not take it.
    """
    kind = request.headers.get("content-type", "")
    media_type = kind.partition(";")[0].strip().lower()
    if media_type not in ("multipart/form-data", "application/json"):
        raise UploadError(
            f"Content-Type {media_type or 'missing'!r}; accepted: multipart/form-data with files, "
            'or application/json with {"documents": [...]}'
        )
    folder = await to_the_end(UploadFolder, service.settings.home)
    try:
        payload: dict[str, object]
        if media_type == "application/json":
            total, urls = await _take_json(request, service, folder)
            if urls:
                await to_the_end(folder.discard)  # nothing to keep: the job fetches
                job_kind, payload = "urls", {"urls": urls}
            else:
                files = await to_the_end(folder.commit)
                job_kind, payload = "documents", {"path": files[0].path}
        else:
            await _take_form(request, service, folder, kind)
            files = await to_the_end(folder.commit)
            total = len(files)
            job_kind, payload = "files", {"files": [asdict(file) for file in files]}
        if (key_id := _key_id(request)) is not None:
            payload["ingested_by"] = key_id
        job = await to_the_end(
            service.catalog.create_job, tenant, job_kind, payload, total=total, job_id=folder.id
        )
    except BaseException:
        # Cancelled clients too: what is on disk without a job would stay for ever.
        await to_the_end(folder.discard)
        raise
    service.jobs.wake()
    return job


def _key_id(request: Request) -> str | None:
    """The caller's id as the audit log has it; None where no key is asked for."""
    principal = principal_of(request.scope)
    return None if principal is None or principal is EVERYONE else principal.id


async def _take_form(request: Request, service: Service, folder: UploadFolder, kind: str) -> None:
    sink = MultipartSink(folder, kind)
    async for chunk in _body(request, service.settings.serving.max_upload_mb, service):
        await to_the_end(sink.feed, chunk)
    sink.finish()


async def _take_json(request: Request, service: Service, folder: UploadFolder) -> tuple[int, list[str]]:
    """Store a JSON body's documents; return how many there are, or are to be fetched, and those URLs.

    Raises:
        FetchRefusedError: a URL that the settings do not allow.
    """
    parts = [chunk async for chunk in _body(request, service.settings.serving.max_json_mb, service)]

    def store() -> tuple[int, list[str]]:
        try:
            body = NewDocuments.model_validate_json(b"".join(parts))
        except ValidationError as error:
            raise _explained(error) from error
        if body.urls:
            return len(body.urls), _allowed(body.urls, service)
        write_documents(folder, body.documents)
        return len(body.documents), []

    return await to_the_end(store)


def _allowed(urls: list[str], service: Service) -> list[str]:
    from indexing.fetch.policy import check_url

    settings = service.settings.fetch
    if len(urls) > settings.max_urls:
        raise InputError(f"{len(urls)} URLs; at most {settings.max_urls} are taken at once (fetch.max_urls)")
    for url in urls:
        check_url(url, settings)
    return urls


def _explained(error: ValidationError) -> InputError:
    """Say which field is wrong, without the values: they may be whole documents."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return UploadError(f"the body is not valid JSON: {found[0]['msg']}")
    lines = [f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in found[:5]]
    return InputError("; ".join(lines))


async def _body(request: Request, max_mb: float, service: Service) -> AsyncIterator[bytes]:
    """Yield the body's chunks, counted against the limit and the clock."""
    principal = principal_of(request.scope)
    if principal is not None:
        max_mb = principal.smaller_mb(max_mb)
    limit = int(max_mb * _MB)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(max_mb)
    clock = ArrivalClock(service.settings.serving, service.settings.serving.upload_idle_s)
    chunks = aiter(request.stream())
    while True:
        try:
            chunk = await clock.wait(anext(chunks))
        except StopAsyncIteration:
            return
        clock.received += len(chunk)
        if clock.received > limit:
            raise _too_large(max_mb)
        if chunk:
            yield chunk


def _too_large(max_mb: float) -> UploadTooLargeError:
    return UploadTooLargeError(
        f"more than {max_mb:g} MB; send it in parts, or raise serving.max_upload_mb (files), "
        "serving.max_json_mb (JSON) or the key's limit"
    )
