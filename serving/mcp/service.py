"""The running service as the MCP server sees it: HTTP, one key, one tenant, typed refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
from mcp.server.mcpserver.exceptions import ToolError

from indexing.errors import SettingsError
from indexing.settings import McpSettings
from serving.access.principal import TENANT_HEADER

# What of an MCP request over HTTP goes on to the service.
FORWARDED: Final = ("authorization", TENANT_HEADER, "traceparent", "tracestate")
_DETAIL_CHARS = 400


class ServiceClient:
    """Calls one service; safe to share between tasks of one event loop.

    Nothing is decided here: keys, tenants, scopes, rates and limits are the
    service's, and its refusals are handed on as they are.

    Args:
        own: headers of every call that brings none of its own.

    Raises:
        SettingsError: ``mcp.url`` is no http address.
    """

    def __init__(
        self,
        settings: McpSettings,
        own: Mapping[str, str],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = httpx.URL(settings.url)
        if url.scheme not in ("http", "https") or not url.host:
            raise SettingsError(f"mcp.url is {settings.url!r}; accepted is http://HOST:PORT")
        self._own = dict(own)
        self._url = settings.url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=self._url, timeout=settings.timeout_s, transport=transport, trust_env=False
        )

    async def get(self, path: str, headers: Mapping[str, str] | None, **params: object) -> httpx.Response:
        """Return the answer to a GET; parameters that are None are left out."""
        given = {name: str(value) for name, value in params.items() if value is not None}
        return await self._ask("GET", path, headers, params=given)

    async def post(self, path: str, headers: Mapping[str, str] | None, body: Mapping[str, object]) -> Any:
        """Return the JSON that answers a POST; fields that are None are left out."""
        given = {name: value for name, value in body.items() if value is not None}
        return (await self._ask("POST", path, headers, json=given)).json()

    async def delete(self, path: str, headers: Mapping[str, str] | None) -> Any:
        """Return the JSON that answers a DELETE."""
        return (await self._ask("DELETE", path, headers)).json()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        sent = self._own if headers is None else _forwarded(headers)
        try:
            answer = await self._client.request(method, path, headers=sent, params=params, json=json)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ToolError(f"the Winnow service at {self._url} does not answer: {reason}") from error
        if answer.is_success:
            return answer
        raise ToolError(_refusal(answer))


def own_headers(settings: McpSettings) -> dict[str, str]:
    """Return the headers of a server that calls with its own key."""
    headers = {}
    if settings.api_key is not None:
        headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    if settings.tenant is not None:
        headers[TENANT_HEADER] = settings.tenant
    return headers


def document_path(doc_id: str, view: str = "") -> str:
    """Return a document's path; dots are encoded too, lest an id of ".." means the folder above."""
    encoded = quote(doc_id, safe="").replace(".", "%2E")
    return f"/v1/documents/{encoded}{view}"


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in FORWARDED if name in headers}


def _refusal(answer: httpx.Response) -> str:
    """Return the service's reason on one line."""
    try:
        problem = json.loads(answer.content)
        said = f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        said = answer.text
    wait = answer.headers.get("retry-after")
    again = f" (again in {wait} s)" if wait else ""
    return f"the service refused, {answer.status_code}: {said[:_DETAIL_CHARS]}{again}"
