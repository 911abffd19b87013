"""The server home: a Qdrant server by address and API key.

Version 1.19 is the first with IDF statistics per tenant and prefix matching,
both of which every home must have to give the same results.
"""

from __future__ import annotations

import warnings
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient

from indexing.collection.protocol import CollectionSpec
from indexing.collection.qdrant import QdrantCollection, client_call, create_collection, stored_spec
from indexing.errors import CollectionError
from indexing.settings import CollectionSettings

_OLDEST = (1, 19)


def shown_address(url: str) -> str:
    """The URL without user, password and query: safe in messages and logs."""
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def make_client(settings: CollectionSettings) -> AsyncQdrantClient:
    with warnings.catch_warnings():
        # A key over plain http to loopback is the owner's choice; the client warns each time.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return AsyncQdrantClient(
            url=settings.url,
            grpc_port=settings.grpc_port,
            prefer_grpc=settings.prefer_grpc,
            api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
            timeout=max(1, round(settings.timeout_s)),
            check_compatibility=False,
        )


async def open_server(settings: CollectionSettings, spec: CollectionSpec | None) -> QdrantCollection | None:
    """The collection on the server, created when absent and ``spec`` is given; else None.

    Raises:
        CollectionUnavailableError: nobody answers at the address.
        CollectionError: the server is older than 1.19, or refuses.
    """
    where = shown_address(settings.url)
    client = make_client(settings)
    try:
        with client_call("open the collection", where):
            _check_version((await client.info()).version, where)
            found = await stored_spec(client, settings.name)
            if found is None and spec is not None:
                await create_collection(client, spec, settings)
                found = spec
    except BaseException:
        await client.close()
        raise
    if found is None:
        await client.close()
        return None
    return QdrantCollection(client, found, settings, "server", where)


def _check_version(version: str, where: str) -> None:
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return  # a development build tells no number
    if (major, minor) < _OLDEST:
        raise CollectionError(
            f"Qdrant at {where} is version {version}; Winnow needs {_OLDEST[0]}.{_OLDEST[1]} or newer"
        )


async def drop_server(settings: CollectionSettings) -> None:
    """Delete the collection on the server."""
    client = make_client(settings)
    try:
        with client_call("delete the collection", shown_address(settings.url)):
            await client.delete_collection(settings.name)
    finally:
        await client.close()
