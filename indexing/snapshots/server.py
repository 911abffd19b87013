"""Qdrant's own snapshots: made, fetched and sent back over its REST interface.

A node's snapshot holds the shards of that node. In a cluster of several, make
one for each node with Qdrant's own tools.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import httpx

from indexing.collection.qdrant import client_call
from indexing.collection.server import make_client, shown_address
from indexing.errors import CollectionError, MismatchError
from indexing.settings import CollectionSettings
from indexing.snapshots.manifest import hash_file

# Making and reading a snapshot takes as long as the collection is large.
_SLOW_S = 3600.0
_BLOCK = 1 << 20


def _requests(settings: CollectionSettings) -> httpx.Client:
    key = settings.api_key
    return httpx.Client(
        base_url=settings.url,
        headers={} if key is None else {"api-key": key.get_secret_value()},
        timeout=httpx.Timeout(_SLOW_S, connect=settings.timeout_s),
    )


def _path(name: str, *parts: str) -> str:
    return "/".join(("/collections", quote(name, safe=""), "snapshots", *parts))


async def exists(settings: CollectionSettings) -> bool:
    """Whether the server has a collection of this name."""
    client = make_client(settings)
    try:
        with client_call("look for the collection", shown_address(settings.url)):
            return bool(await client.collection_exists(settings.name))
    finally:
        await client.close()


async def download(settings: CollectionSettings, target: Path) -> None:
    """Have the server make a snapshot, fetch it, and delete it there.

    Raises:
        CollectionUnavailableError: the server does not answer.
        CollectionError: it refuses.
        MismatchError: what came is not what it has.
    """
    where = shown_address(settings.url)
    client = make_client(settings.model_copy(update={"timeout_s": _SLOW_S}))
    try:
        with client_call("make a snapshot", where):
            made = await client.create_snapshot(settings.name, wait=True)
        if made is None:
            raise CollectionError(f"Qdrant at {where} made no snapshot of {settings.name!r}")
        try:
            with client_call("send a snapshot", where):
                await asyncio.to_thread(_fetch, settings, made.name, target)
        finally:
            with client_call("delete its copy of a snapshot", where):
                await client.delete_snapshot(settings.name, made.name)
    finally:
        await client.close()
    if made.checksum is not None and hash_file(target)[0] != made.checksum:
        raise MismatchError(f"the snapshot {made.name} changed on its way from {where}")


def _fetch(settings: CollectionSettings, snapshot: str, target: Path) -> None:
    path = _path(settings.name, quote(snapshot, safe=""))
    with _requests(settings) as requests, requests.stream("GET", path) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"status {answer.status_code}")
        with open(target, "wb") as file:
            for block in answer.iter_bytes(_BLOCK):
                file.write(block)


async def upload(settings: CollectionSettings, source: Path) -> None:
    """Have the server make a collection of this name from a snapshot file.

    Raises:
        CollectionUnavailableError: the server does not answer.
        CollectionError: it refuses.
    """
    with client_call("restore a snapshot", shown_address(settings.url)):
        await asyncio.to_thread(_send, settings, source)


def _send(settings: CollectionSettings, source: Path) -> None:
    query = {"wait": "true", "priority": "snapshot", "checksum": hash_file(source)[0]}
    with open(source, "rb") as file, _requests(settings) as requests:
        answer = requests.post(_path(settings.name, "upload"), params=query, files={"snapshot": file})
    if answer.status_code != httpx.codes.OK:
        raise ValueError(f"status {answer.status_code}: {answer.text[:300]}")
