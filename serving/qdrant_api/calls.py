"""One call of Qdrant's API each, from the raw body to the JSON answer.

Imports ``qdrant_client`` with its dependencies; see :mod:`serving.qdrant_api.routes`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, TypeAdapter
from qdrant_client.http import models

from indexing.errors import InputError, NotFoundError
from serving.access.principal import Principal
from serving.qdrant_api import points
from serving.qdrant_api.describe import collection_info
from serving.qdrant_api.parse import read_body
from serving.qdrant_api.queries import Queries
from serving.state import Service
from serving.threads import in_thread

_MAX_BATCH = 32
_RECORDS = TypeAdapter(list[models.Record])


def api_version() -> str:
    """Return the version of Qdrant's API that this one speaks: its client's."""
    return version("qdrant-client")


def answer(result: object, began: float) -> bytes:
    """Return Qdrant's envelope around a result that is JSON already, or a model."""
    if isinstance(result, BaseModel):
        body = result.model_dump_json(by_alias=True)
    elif isinstance(result, list) and result and isinstance(result[0], models.Record):
        body = _RECORDS.dump_json(result, by_alias=True).decode()
    else:
        body = json.dumps(result)
    return f'{{"result":{body},"status":"ok","time":{time.perf_counter() - began}}}'.encode()


async def of_points(
    service: Service, principal: Principal, operation: str, raw: bytes, began: float
) -> bytes:
    """Return the answer to a request with a body.

    Raises:
        InputError: the body is not the operation's, or asks for what is not served.
        NotFoundError: it names a point that is not here.
    """
    result = await OPERATIONS[operation](service, principal.tenant, raw)
    # A thousand vectors take long enough to write that other requests would notice.
    return await in_thread(answer, result, began)


async def point(service: Service, principal: Principal, identifier: str, began: float) -> bytes:
    """Return the answer with one point."""
    found = await points.retrieve_one(service.collection, principal.tenant, identifier)
    return answer(found, began)


async def describe(service: Service, principal: Principal, began: float) -> bytes:
    """Return the answer with the collection's description."""
    return answer(await collection_info(service, principal), began)


def check_name(service: Service, name: str) -> None:
    """Raise unless this is the one collection there is.

    Raises:
        NotFoundError: it is not.
    """
    if name != service.settings.collection.name:
        raise NotFoundError(f"Not found: Collection `{name}` doesn't exist!")


async def _retrieve(service: Service, tenant: str, raw: bytes) -> object:
    return await points.retrieve(service.collection, tenant, read_body(models.PointRequest, raw))


async def _scroll(service: Service, tenant: str, raw: bytes) -> object:
    return await points.scroll(service.collection, tenant, read_body(models.ScrollRequest, raw))


async def _count(service: Service, tenant: str, raw: bytes) -> object:
    return await points.count(service.collection, tenant, read_body(models.CountRequest, raw))


async def _facet(service: Service, tenant: str, raw: bytes) -> object:
    return await points.facet(service.collection, tenant, read_body(models.FacetRequest, raw))


async def _query(service: Service, tenant: str, raw: bytes) -> object:
    queries = Queries(service.collection, tenant, service.embed_text)
    return await queries.run(read_body(models.QueryRequest, raw))


async def _query_batch(service: Service, tenant: str, raw: bytes) -> object:
    searches = read_body(models.QueryRequestBatch, raw).searches
    if len(searches) > _MAX_BATCH:
        raise InputError(f"Wrong input: at most {_MAX_BATCH} searches in a batch")
    queries = Queries(service.collection, tenant, service.embed_text)
    found: Sequence[models.QueryResponse] = await asyncio.gather(*(queries.run(one) for one in searches))
    return [one.model_dump(mode="json", by_alias=True) for one in found]


OPERATIONS: Mapping[str, Callable[[Service, str, bytes], Awaitable[Any]]] = {
    "points": _retrieve,
    "points/scroll": _scroll,
    "points/count": _count,
    "points/query": _query,
    "points/query/batch": _query_batch,
    "facet": _facet,
}
