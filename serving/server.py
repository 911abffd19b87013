"""Run the app in uvicorn, in one event loop with the service it serves."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from math import ceil

import uvicorn

from indexing.errors import SettingsError
from indexing.settings import ServingSettings, Settings
from serving.app import create_app
from serving.connections import Connections
from serving.guards import is_loopback
from serving.state import open_service

logger = logging.getLogger(__name__)

# Names that a browser cannot open; loopback is among what they mean.
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_KEEP_ALIVE_S = 10
_BACKLOG = 512


class Server(uvicorn.Server):
    """Uvicorn, which says on stdout where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                announce(self.config.host, int(listener.getsockname()[1]))
                return


def announce(host: str, port: int) -> None:
    """Write the page's address and one command to try to stdout."""
    shown = "127.0.0.1" if host in _EVERY_ADDRESS else host
    address = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    body = json.dumps({"query": "how do I open a file", "top_n": 3})
    sys.stdout.write(
        f"Winnow is ready: {address}/\n"
        f"Try: curl -s {address}/v1/search -H 'Content-Type: application/json' -d '{body}'\n"
    )
    sys.stdout.flush()


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        SettingsError: a network address without keys, which nobody has allowed.
        WinnowError: a model or a store does not open.
    """
    refuse_open_network(settings.serving)
    asyncio.run(_serve(settings))


def refuse_open_network(serving: ServingSettings) -> None:
    """Raise when whoever reaches the address could read and delete every document.

    Raises:
        SettingsError: as said, unless ``serving.allow_open``.
    """
    if serving.require_keys or is_loopback(serving.host):
        return
    if not serving.allow_open:
        raise SettingsError(
            f"serving.host is {serving.host!r}, a network address, and no key is asked for: set "
            "serving.require_keys = true and make one with `python -m serving.keys create NAME`, or set "
            "serving.allow_open = true where something else decides who reaches it"
        )
    logger.warning("listening on %s: whoever reaches it can read and delete every document", serving.host)


async def _serve(settings: Settings) -> None:
    # Opened here and not in the lifespan: uvicorn would turn our error into a
    # traceback and an exit code of its own.
    service = await open_service(settings)
    try:
        await Server(uvicorn_config(settings, create_app(settings, service))).serve()
    finally:
        await service.close()


def uvicorn_config(settings: Settings, app: object) -> uvicorn.Config:
    """Return how uvicorn listens, and what it refuses."""
    serving = settings.serving
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        # A callable that makes the protocol serves as well as its class.
        http=Connections(serving).protocol,  # type: ignore[arg-type]
        host=serving.host,
        port=serving.port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=ceil(serving.shutdown_grace_s),
    )
