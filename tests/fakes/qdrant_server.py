"""Qdrant's REST protocol over ``QdrantClient(":memory:")``: a server for tests.

``with QdrantServer() as server:`` runs it in a thread; ``server.url`` goes into
``collection.url`` together with ``prefer_grpc=False``, and ``server.faults`` takes
:class:`tests.fakes.faults.Faults`. ``python -m tests.fakes.qdrant_server`` runs it
as a process and prints its address. Shapes come from ``qdrant_client.models``;
what a server refuses and local mode allows (facets without an index) is refused.
"""

from __future__ import annotations

import socket
import sys
import warnings
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from qdrant_client import QdrantClient, models
from qdrant_client.local.qdrant_local import QdrantLocal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.fakes.faults import Faults, Faulty, configured, serving
from tests.fakes.qdrant_snapshots import Snapshots

VERSION = "1.20.0"


class NotThereError(Exception):
    """404."""


class Backend:
    """Collections in memory, and what local mode does not keep: indexes and engine settings."""

    def __init__(self, api_key: str | None = None) -> None:
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        warnings.filterwarnings("ignore", message="Local mode performs exact")
        warnings.filterwarnings("ignore", message="Local mode is not recommended")
        self.client = QdrantClient(":memory:")
        self.local: QdrantLocal = self.client._client
        self.indexes: dict[str, dict[str, models.PayloadIndexInfo]] = {}
        self.created: dict[str, models.CreateCollection] = {}
        self.snapshots = Snapshots(self)
        self.api_key = api_key

    def name(self, given: str) -> str:
        """The collection behind a name or an alias."""
        name = self.local.aliases.get(given, given)
        if name not in self.local.collections:
            raise NotThereError(f"Not found: Collection `{given}` doesn't exist!")
        return name

    # ── collections ───────────────────────────────────────────────────────

    def create(self, name: str, body: models.CreateCollection) -> bool:
        self.local.create_collection(name, body.vectors, body.sparse_vectors, metadata=body.metadata)
        self.created[name], self.indexes[name] = body, {}
        return True

    def update(self, name: str, body: models.UpdateCollection) -> bool:
        return self.local.update_collection(self.name(name), metadata=body.metadata)

    def drop(self, name: str) -> bool:
        self.created.pop(name, None)
        self.indexes.pop(name, None)
        return self.local.delete_collection(name) if name in self.local.collections else False

    def info(self, given: str) -> models.CollectionInfo:
        name = self.name(given)
        info, made = self.local.get_collection(name), self.created[name]
        info.payload_schema = self.indexes[name]
        hnsw = made.hnsw_config
        if hnsw is not None:
            info.config.hnsw_config.m = hnsw.m or info.config.hnsw_config.m
            info.config.hnsw_config.ef_construct = hnsw.ef_construct or info.config.hnsw_config.ef_construct
        info.config.quantization_config = made.quantization_config
        return info

    def index(self, given: str, body: models.CreateFieldIndex) -> models.UpdateResult:
        name = self.name(given)
        schema = body.field_schema
        plain = isinstance(schema, str)
        kind, params = (schema, None) if plain else (schema.type, schema)
        self.indexes[name][body.field_name] = models.PayloadIndexInfo(
            data_type=models.PayloadSchemaType(getattr(kind, "value", kind)), params=params, points=0
        )
        return _done()

    def drop_index(self, given: str, field: str) -> models.UpdateResult:
        self.indexes[self.name(given)].pop(field, None)
        return _done()

    # ── points ────────────────────────────────────────────────────────────

    def upsert(self, given: str, body: Any) -> models.UpdateResult:
        points = body.points if isinstance(body, models.PointsList) else body.batch
        name = self.name(given)
        return self.local.upsert(name, points, update_filter=body.update_filter, update_mode=body.update_mode)

    def batch(self, given: str, body: models.UpdateOperations) -> list[models.UpdateResult]:
        name = self.name(given)
        return self.local.batch_update_points(name, body.operations)

    def scroll(self, given: str, body: models.ScrollRequest) -> models.ScrollResult:
        points, after = self.local.scroll(
            self.name(given),
            body.filter,
            body.limit or 10,
            body.order_by,
            body.offset,
            True if body.with_payload is None else body.with_payload,
            body.with_vector or False,
        )
        return models.ScrollResult(points=points, next_page_offset=after)

    def retrieve(self, given: str, body: models.PointRequest) -> list[models.Record]:
        payload = True if body.with_payload is None else body.with_payload
        return self.local.retrieve(self.name(given), body.ids, payload, body.with_vector or False)

    def query(self, given: str, body: models.QueryRequest) -> models.QueryResponse:
        return self.queries(given, models.QueryRequestBatch(searches=[body]))[0]

    def queries(self, given: str, body: models.QueryRequestBatch) -> list[models.QueryResponse]:
        # The server's default is no payload; local mode's is the whole.
        return self.local.query_batch_points(
            self.name(given),
            [one.model_copy(update={"with_payload": one.with_payload or False}) for one in body.searches],
        )

    def groups(self, given: str, body: models.QueryGroupsRequest) -> models.GroupsResult:
        return self.local.query_points_groups(
            self.name(given),
            body.group_by,
            body.query,
            body.using,
            body.prefetch,
            body.filter,
            body.params,
            body.limit or 10,
            body.group_size or 3,
            body.with_payload or False,
            body.with_vector or False,
            body.score_threshold,
        )

    def facet(self, given: str, body: models.FacetRequest) -> models.FacetResponse:
        name = self.name(given)
        if body.key not in self.indexes[name]:
            raise ValueError(f"Bad request: No appropriate index for faceting: `{body.key}`")
        return self.local.facet(name, body.key, body.filter, body.limit or 10)


def _done() -> models.UpdateResult:
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


async def _parsed(request: Request, kind: Any) -> Any:
    return TypeAdapter(kind).validate_json(await request.body())


async def _answered(backend: Backend, request: Request, work: Any) -> Response:
    """What ``work`` gives, in the server's envelope; its refusals with the server's statuses."""
    if backend.api_key is not None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if backend.api_key not in (request.headers.get("api-key"), bearer):
            return Response("Must provide an API key or an Authorization bearer token", 401)
    try:
        result = await work(request)
    except NotThereError as error:
        return _refused(404, str(error))
    except ValidationError as error:
        return _refused(400, f"Format error in JSON body: {error.errors(include_url=False)[0]['msg']}")
    except ValueError as error:
        status = 404 if "not found" in str(error) else 409 if "already exists" in str(error) else 400
        return _refused(status, f"Wrong input: {error}")
    if isinstance(result, Response):
        return result
    body = to_json({"result": result, "status": "ok", "time": 0.0}, fallback=_plain)
    return Response(body, media_type="application/json")


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's own."""
    return value.item()


def _refused(status: int, message: str) -> Response:
    return Response(
        to_json({"status": {"error": message}, "time": 0.0}), status, media_type="application/json"
    )


def create_app(backend: Backend) -> Starlette:
    """The REST routes of one server."""
    local, routes = backend.local, []

    def route(method: str, path: str, work: Any) -> None:
        async def handle(request: Request) -> Response:
            return await _answered(backend, request, work)

        routes.append(Route(path, handle, methods=[method]))

    def bodied(method: str, path: str, kind: Any, act: Any) -> None:
        async def work(request: Request) -> Any:
            return act(request.path_params["name"], await _parsed(request, kind))

        route(method, path, work)

    def plain(method: str, path: str, act: Any) -> None:
        async def work(request: Request) -> Any:
            return act(*request.path_params.values())

        route(method, path, work)

    async def version(request: Request) -> Response:
        body = {"title": "qdrant - vector search engine", "version": VERSION}
        return Response(to_json(body), media_type="application/json")

    async def healthy(request: Request) -> Response:
        return Response("healthz check passed", media_type="text/plain")

    async def aliases(request: Request) -> bool:
        return local.update_collection_aliases(
            (await _parsed(request, models.ChangeAliasesOperation)).actions
        )

    routes += [
        Route("/", version),
        *(Route(path, healthy) for path in ("/healthz", "/readyz", "/livez")),
    ]
    one = "/collections/{name}"
    route("POST", "/collections/aliases", aliases)
    plain("GET", "/aliases", local.get_aliases)
    plain("GET", "/collections", local.get_collections)
    plain("GET", f"{one}/aliases", lambda name: local.get_collection_aliases(backend.name(name)))
    plain(
        "GET",
        f"{one}/exists",
        lambda name: {"exists": name in local.collections or name in local.aliases},
    )
    bodied("PUT", one, models.CreateCollection, backend.create)
    bodied("PATCH", one, models.UpdateCollection, backend.update)
    plain("GET", one, backend.info)
    plain("DELETE", one, backend.drop)
    bodied("PUT", f"{one}/index", models.CreateFieldIndex, backend.index)
    plain("DELETE", f"{one}/index/{{field}}", lambda name, field: backend.drop_index(name, field))
    _point_routes(backend, bodied)
    backend.snapshots.routes(route, plain, bodied)
    return Starlette(routes=routes)


def _point_routes(backend: Backend, bodied: Any) -> None:
    local, points = backend.local, "/collections/{name}/points"

    def selected(body: Any) -> Any:
        if body.points is not None:
            return body.points
        return models.FilterSelector(filter=body.filter)

    bodied("PUT", points, models.PointInsertOperations, backend.upsert)
    bodied("POST", points, models.PointRequest, backend.retrieve)
    bodied("POST", f"{points}/scroll", models.ScrollRequest, backend.scroll)
    bodied(
        "POST",
        f"{points}/count",
        models.CountRequest,
        lambda name, body: local.count(backend.name(name), body.filter),
    )
    bodied("POST", f"{points}/query", models.QueryRequest, backend.query)
    bodied("POST", f"{points}/query/batch", models.QueryRequestBatch, backend.queries)
    bodied("POST", f"{points}/query/groups", models.QueryGroupsRequest, backend.groups)
    bodied("POST", "/collections/{name}/facet", models.FacetRequest, backend.facet)
    bodied(
        "POST",
        f"{points}/delete",
        models.PointsSelector,
        lambda name, body: local.delete(backend.name(name), body),
    )
    bodied("POST", f"{points}/batch", models.UpdateOperations, backend.batch)
    bodied(
        "PUT",
        f"{points}/vectors",
        models.UpdateVectors,
        lambda name, body: local.update_vectors(backend.name(name), body.points),
    )
    bodied(
        "POST",
        f"{points}/vectors/delete",
        models.DeleteVectors,
        lambda name, body: local.delete_vectors(backend.name(name), body.vector, selected(body)),
    )
    bodied(
        "POST",
        f"{points}/payload",
        models.SetPayload,
        lambda name, body: local.set_payload(backend.name(name), body.payload, selected(body), body.key),
    )
    bodied(
        "PUT",
        f"{points}/payload",
        models.SetPayload,
        lambda name, body: local.overwrite_payload(backend.name(name), body.payload, selected(body)),
    )


class QdrantServer:
    """A server in a thread of this process; faults and requests are at hand."""

    def __init__(self, api_key: str | None = None) -> None:
        self.backend = Backend(api_key)
        self.faulty = Faulty(create_app(self.backend))
        self._running = serving(self.faulty)
        self.url = ""

    @property
    def faults(self) -> Faults:
        return self.faulty.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.faulty.faults = faults

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of everything asked so far."""
        return self.faulty.requests

    def __enter__(self) -> QdrantServer:
        self.url = self._running.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)


def main() -> None:
    """Serve on a free port until the process is ended; the address is the first line on stdout."""
    server = configured(Faulty(create_app(Backend())))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
