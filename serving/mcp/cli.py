"""``python -m serving.mcp``: the MCP server over stdio, or over streamable HTTP."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.command_line import exit_code_of

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from indexing.settings import McpSettings

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    url: Annotated[str | None, typer.Option(help="The running service; default: mcp.url.")] = None,
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP at /mcp instead of stdio.")] = False,
    host: Annotated[str, typer.Option(help="With --http: the address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --http; 0 takes a free one.")] = 8002,
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Offer tools that add and delete; the key needs write.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML settings file.")] = None,
) -> None:
    """Offer a running Winnow to an assistant: search, query, open a source. Nothing is written.

    The key of the stdio server is WINNOW_MCP__API_KEY, or mcp.api_key in the settings file; over HTTP
    each caller sends its own, as it would to the service.
    """
    from indexing.settings import load_settings

    if config is not None:
        os.environ["WINNOW_CONFIG"] = str(config.absolute())
    settings = load_settings().mcp
    changes: dict[str, object] = {"allow_writes": settings.allow_writes or allow_writes}
    if url is not None:
        changes["url"] = url
    settings = settings.model_copy(update=changes)
    if http:
        _over_http(settings, host, port)
    else:
        from serving.mcp.service import own_headers

        _server(settings, own_headers(settings)).run("stdio")


def _server(settings: McpSettings, own: dict[str, str]) -> MCPServer[None]:
    _require_sdk()
    from serving.mcp.server import create_server
    from serving.mcp.service import ServiceClient

    return create_server(ServiceClient(settings, own), allow_writes=settings.allow_writes)


def _require_sdk() -> None:
    """Raise MissingDependencyError when the SDK is not installed."""
    from indexing.errors import MissingDependencyError

    try:
        import mcp.server.mcpserver  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("mcp", "mcp", "the MCP server") from error


def _over_http(settings: McpSettings, host: str, port: int) -> None:
    import uvicorn

    from indexing.errors import SettingsError

    if settings.api_key is not None:
        raise SettingsError(
            "mcp.api_key is for stdio: over HTTP it would serve whoever connects; callers send their own"
        )
    _refuse_open_network(settings, host)
    built = _server(settings, {})
    application = built.streamable_http_app(stateless_http=True, json_response=True, host=host)
    uvicorn.run(application, host=host, port=port, log_config=None, access_log=False, server_header=False)


def _refuse_open_network(settings: McpSettings, host: str) -> None:
    """Raise where a network address would hand out a service that asks nobody for a key.

    Raises:
        SettingsError: as said, or the service does not answer.
    """
    import httpx

    from indexing.errors import SettingsError
    from serving.guards import is_loopback

    if is_loopback(host):
        return
    try:
        answer = httpx.get(f"{settings.url.rstrip('/')}/v1/documents?limit=1", timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        raise SettingsError(f"the service at {settings.url} does not answer: {error}") from error
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        raise SettingsError(
            f"--host {host} is a network address, and the service at {settings.url} asks for no key: set "
            "serving.require_keys = true there, or listen on loopback"
        )


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line; 0 stopped, 1 something failed, 2 wrong arguments or settings."""
    # stdout belongs to the protocol.
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", level=logging.WARNING)
    arguments = None if given is None else list(given)
    return exit_code_of(lambda: app(arguments, prog_name="python -m serving.mcp", standalone_mode=False))
