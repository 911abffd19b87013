"""Snapshots of the fake Qdrant server: a collection as one JSON file, kept in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic_core import to_json
from qdrant_client import models
from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from tests.fakes.qdrant_server import Backend

Add = Callable[..., None]


class Snapshots:
    """Create, list, delete, download, upload and recover."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._files: dict[str, dict[str, bytes]] = {}
        self._made = 0

    def create(self, name: str) -> models.SnapshotDescription:
        real = self._backend.name(name)
        records, _ = self._backend.local.scroll(real, limit=10**9, with_payload=True, with_vectors=True)
        self._made += 1
        file = f"{real}-{self._made:06d}.snapshot"
        body = to_json(
            {
                "created": self._backend.created[real],
                "indexes": self._backend.indexes[real],
                "points": records,
            }
        )
        self._files.setdefault(real, {})[file] = body
        return _described(file, body)

    def list(self, name: str) -> list[models.SnapshotDescription]:
        return [_described(*item) for item in self._files.get(self._backend.name(name), {}).items()]

    def delete(self, name: str, snapshot: str) -> bool:
        if self._files.get(name, {}).pop(snapshot, None) is None:
            raise ValueError(f"Snapshot {snapshot} not found")
        return True

    def download(self, name: str, snapshot: str) -> Response:
        return Response(self._bytes(name, snapshot), media_type="application/octet-stream")

    def _bytes(self, name: str, snapshot: str) -> bytes:
        try:
            return self._files[name][snapshot]
        except KeyError:
            raise ValueError(f"Snapshot {snapshot} not found") from None

    def recover(self, name: str, body: models.SnapshotRecover) -> bool:
        """From ``file:///.../COLLECTION/SNAPSHOT``, as a server reads its own folder."""
        *_, collection, snapshot = body.location.split("/")
        return self.restore(name, self._bytes(collection, snapshot), body.checksum)

    def restore(self, name: str, content: bytes, checksum: str | None) -> bool:
        if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
            raise ValueError("Snapshot checksum mismatch")
        body = json.loads(content)
        self._backend.drop(name)
        self._backend.create(name, TypeAdapter(models.CreateCollection).validate_python(body["created"]))
        indexes = TypeAdapter(dict[str, models.PayloadIndexInfo]).validate_python(body["indexes"])
        self._backend.indexes[name] = indexes
        points = [
            models.PointStruct(id=row["id"], vector=row["vector"] or {}, payload=row["payload"])
            for row in body["points"]
        ]
        if points:
            self._backend.local.upsert(name, points)
        return True

    async def upload(self, request: Request) -> bool:
        async with request.form() as form:
            file: Any = form["snapshot"]
            content = await file.read()
        return self.restore(request.path_params["name"], content, request.query_params.get("checksum"))

    def routes(self, route: Add, plain: Add, bodied: Add) -> None:
        path = "/collections/{name}/snapshots"
        route("POST", f"{path}/upload", self.upload)
        bodied("PUT", f"{path}/recover", models.SnapshotRecover, self.recover)
        plain("GET", path, self.list)
        plain("POST", path, self.create)
        plain("GET", f"{path}/{{snapshot}}", self.download)
        plain("DELETE", f"{path}/{{snapshot}}", self.delete)


def _described(name: str, body: bytes) -> models.SnapshotDescription:
    return models.SnapshotDescription(
        name=name,
        creation_time="2026-01-01T00:00:00",
        size=len(body),
        checksum=hashlib.sha256(body).hexdigest(),
    )
