"""The MCP server's tools and resources, by the official client, over a service of fakes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from indexing.errors import SettingsError
from indexing.settings import McpSettings
from serving.mcp.server import create_server
from serving.mcp.service import ServiceClient, document_path, own_headers
from tests.fakes.service import DOCUMENTS, Harness, app_of, make_harness

pytestmark = pytest.mark.anyio
READS = {"search", "query", "open_source", "list_documents"}
WRITES = {"add_document", "job_state", "delete_document"}


@contextlib.asynccontextmanager
async def connected(
    tmp_path: Path, *, allow_writes: bool = False, **serving: object
) -> AsyncIterator[tuple[Client, Harness]]:
    harness = await make_harness(tmp_path, **serving)
    app = app_of(harness.settings, harness.service)
    settings = McpSettings(url="http://127.0.0.1:1")
    service = ServiceClient(settings, own_headers(settings), transport=httpx.ASGITransport(app))
    try:
        async with Client(create_server(service, allow_writes=allow_writes)) as client:
            yield client, harness
    finally:
        await harness.close()


async def call(client: Client, name: str, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refused(client: Client, name: str, **arguments: object) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error, result
    return str(result.content[0].text)  # type: ignore[union-attr]


async def test_without_the_flag_nothing_that_writes_is_there(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, _):
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == READS
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        assert "delete_document" in await refused(client, "delete_document", doc_id="files")


async def test_with_the_flag_the_writing_tools_say_what_they_do(tmp_path: Path) -> None:
    async with connected(tmp_path, allow_writes=True) as (client, harness):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == READS | WRITES
        hints = tools["delete_document"].annotations
        assert hints is not None
        assert (hints.read_only_hint, hints.destructive_hint) == (False, True)
        assert await call(client, "delete_document", doc_id="files") == {"doc_id": "files", "deleted": True}
        assert "files" not in harness.catalog.texts
        job = await call(client, "add_document", text="A new one.", title="New")
        assert (await call(client, "job_state", job_id=job["id"]))["state"] == "queued"


async def test_every_passage_and_citation_is_the_text_at_its_offsets(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, _):
        found = await call(client, "search", query="open a file", top_n=3)
        assert found["results"]
        said = await call(client, "query", question="how to open a file")
        assert said["kind"] == "extractive"
        assert said["citations"]
        for place in (*found["results"], *said["citations"]):
            text = DOCUMENTS[place["doc_id"]][place["start"] : place["end"]]
            assert text == place.get("text", place.get("quote"))
            read = await client.read_resource(place["uri"])
            assert read.contents[0].text == text  # type: ignore[union-attr]


async def test_the_output_is_described_by_a_schema(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, _):
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        assert all(schemas.values())
        assert {"doc_id", "start", "end", "uri"} <= set(schemas["search"]["$defs"]["Passage"]["required"])


@pytest.mark.parametrize("doc_id", sorted(DOCUMENTS))
async def test_a_source_is_opened_by_pieces_whatever_its_id(tmp_path: Path, doc_id: str) -> None:
    async with connected(tmp_path) as (client, _):
        pieces, start = [], 0
        while True:
            opened = await call(client, "open_source", doc_id=doc_id, start=start, max_chars=7)
            assert (opened["start"], opened["end"]) == (start, start + len(opened["text"]))
            assert opened["chars"] == len(DOCUMENTS[doc_id])
            pieces.append(opened["text"])
            if opened["next"] is None:
                break
            start = opened["next"]
        assert "".join(pieces) == DOCUMENTS[doc_id]


async def test_documents_are_listed_by_pages(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, _):
        first = await call(client, "list_documents", limit=3)
        rest = await call(client, "list_documents", limit=3, after=first["next"])
        rows = first["documents"] + rest["documents"]
        assert [row["doc_id"] for row in rows] == sorted(DOCUMENTS)
        assert (first["total"], rest["next"]) == (len(DOCUMENTS), None)


async def test_what_the_service_refuses_is_told_and_not_a_crash(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, harness):
        assert "404" in await refused(client, "open_source", doc_id="nothing")
        assert "422" in await refused(client, "search", query=" ")
        assert "at least 1" in await refused(client, "search", query="")
        for missing in ("nothing", "..", "../v1/jobs", "/etc/passwd"):
            assert "404" in await refused(client, "open_source", doc_id=missing)
        with pytest.raises(MCPError):
            await client.read_resource("winnow://documents/..%2F..%2Fetc%2Fpasswd")
        harness.encoder.error = RuntimeError("a secret of the inside")
        said = await refused(client, "search", query="open")
        assert "500" in said
        assert "secret" not in said


async def test_a_service_that_is_away_is_named(tmp_path: Path) -> None:
    settings = McpSettings(url="http://127.0.0.1:9", timeout_s=5)
    async with Client(create_server(ServiceClient(settings, {}))) as client:
        assert "http://127.0.0.1:9 does not answer" in await refused(client, "search", query="x")


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match=r"mcp\.url"):
        ServiceClient(McpSettings(url="ftp://somewhere"), {})


def test_an_id_of_dots_stays_one_segment() -> None:
    assert httpx.URL("http://host" + document_path("..", "/text")).raw_path == b"/v1/documents/%2E%2E/text"
