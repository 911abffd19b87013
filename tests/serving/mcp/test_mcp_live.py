"""Two tenants of a real service through MCP: in the process, by stdio, over HTTP; nobody sees the other."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr

from indexing.settings import McpSettings
from serving.mcp.cli import main
from serving.mcp.records import resource_uri
from serving.mcp.server import create_server
from serving.mcp.service import ServiceClient, own_headers
from tests.fakes.running_service import PATIENCE_S, RunningService, running_service

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[3]
QUESTION = "What is the code of the vault?"
CANARIES = {"team0": "zyx0canary0qqj", "team1": "zyx1canary1qqj"}


def environment(service: RunningService, **extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    return {**kept, "WINNOW_MCP__URL": service.url, **extra}


def by_stdio(service: RunningService, key: str) -> Client:
    command = ["-m", "serving.mcp"]
    env = environment(service, WINNOW_MCP__API_KEY=key)
    return Client(StdioServerParameters(command=sys.executable, args=command, cwd=ROOT, env=env))


def in_process(service: RunningService, key: str) -> Client:
    """With the tools that write, and without the seconds that another process takes."""
    settings = McpSettings(url=service.url, api_key=SecretStr(key))
    return Client(create_server(ServiceClient(settings, own_headers(settings)), allow_writes=True))


@contextlib.contextmanager
def http_server(service: RunningService, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "mcp.log").open("wb") as log:
        command = [sys.executable, "-m", "serving.mcp", "--http", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(service), stderr=log, stdout=log)
        try:
            until = time.monotonic() + PATIENCE_S
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                assert process.poll() is None, (tmp_path / "mcp.log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@contextlib.asynccontextmanager
async def over_http(url: str, key: str) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S) as caller,
        Client(streamable_http_client(url, http_client=caller)) as client,
    ):
        yield client


async def everything(client: Client, own: str, foreign: str) -> list[str]:
    """Every tool and resource, asked for the other's things too; the answers as text."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("search", {"query": QUESTION}),
        ("search", {"query": QUESTION, "filter": {"doc_id": foreign}}),
        ("query", {"question": QUESTION}),
        ("list_documents", {}),
        ("open_source", {"doc_id": own}),
        ("open_source", {"doc_id": foreign}),
    ]
    said = [(await client.call_tool(name, arguments)).model_dump_json() for name, arguments in calls]
    said.append((await client.read_resource(resource_uri(own))).model_dump_json())
    with pytest.raises(MCPError) as refusal:
        await client.read_resource(resource_uri(foreign))
    return [*said, str(refusal.value)]


async def test_each_key_sees_its_own_tenant_through_every_transport(tmp_path: Path) -> None:
    async with running_service(tmp_path / "home") as service:
        for tenant, canary in CANARIES.items():
            await filled_through_mcp(service, tenant, canary)
        readers = {tenant: service.key(tenant, "read") for tenant in CANARIES}
        with http_server(service, tmp_path) as url:
            for tenant, canary in CANARIES.items():
                other = next(one for one in CANARIES if one != tenant)
                for opened in (by_stdio(service, readers[tenant]), over_http(url, readers[tenant])):
                    async with opened as client:
                        said = await everything(client, f"own-{tenant}", f"own-{other}")
                    assert not [one for one in said if CANARIES[other] in one]
                    assert sum(canary in one for one in said) == 4, "its own are found"
            await results_say_where_they_are_from(service, readers["team0"])
            await refused_without_a_key(url)
            await writes_need_the_scope(service, readers["team0"])
            assert service.settings.serving.require_keys
            code = main(["--url", service.url, "--http", "--host", "0.0.0.0", "--port", "99999"])
            assert code == 2, "a port that is none"


async def filled_through_mcp(service: RunningService, tenant: str, canary: str) -> None:
    key = service.key(tenant, "read", "write")
    async with in_process(service, key) as client:
        text = f"The code of the vault is {canary}. Only {tenant} knows {canary}."
        made = await client.call_tool("add_document", {"doc_id": f"own-{tenant}", "text": text})
        assert not made.is_error, made.content
        assert made.structured_content is not None
        await service.finished(str(made.structured_content["id"]), key)


async def results_say_where_they_are_from(service: RunningService, key: str) -> None:
    """Not of MCP itself, but here a real index stands: a result's provenance is its document's."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=PATIENCE_S) as client:
        found = (await client.post("/v1/search", json={"query": QUESTION})).json()["results"][0]
        document = (await client.get(f"/v1/documents/{found['doc_id']}")).json()
    assert found["indexed_at"] == document["indexed_at"] != ""
    assert found["version"] == document["version"] != ""
    assert found["source"] in document["sources"]


async def refused_without_a_key(url: str) -> None:
    async with over_http(url, "") as client:
        result = await client.call_tool("search", {"query": QUESTION})
        assert result.is_error
        assert "401" in result.model_dump_json()


async def writes_need_the_scope(service: RunningService, reader: str) -> None:
    async with in_process(service, reader) as client:
        for name, arguments in (
            ("add_document", {"text": "Something new."}),
            ("delete_document", {"doc_id": "own-team0"}),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert "403" in result.model_dump_json()


def test_over_http_no_key_is_lent_to_whoever_connects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WINNOW_MCP__API_KEY", "wnw_1_2")
    assert main(["--http"]) == 2
    assert "callers send their own" in capsys.readouterr().err


def test_an_open_service_is_not_offered_to_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--http", "--host", "0.0.0.0", "--url", "http://127.0.0.1:9"]) == 2
    assert "does not answer" in capsys.readouterr().err
