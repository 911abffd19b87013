"""The engine's end of its socket: order, fairness, and who is not read from meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from indexing.collection import engine, wire
from indexing.collection.engine import Client

PATIENCE_S = 10

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeServer:
    """Reads echo their arguments, writes wait for ``release``."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.asked: list[tuple[str, Any]] = []
        self.release = asyncio.Event()
        self.gone = asyncio.Event()

    def came(self, client: Client) -> None:
        self.clients.append(client)

    def left(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
        self.gone.set()

    def read(self, request_id: int, name: str, arguments: Any) -> bytes:
        self.asked.append((name, arguments))
        return wire.frame([request_id, None, arguments])

    async def write(self, request_id: int, name: str, arguments: Any) -> bytes:
        self.asked.append((name, arguments))
        await self.release.wait()
        return wire.frame([request_id, None, "written"])


@asynccontextmanager
async def connected(server: FakeServer) -> AsyncIterator[socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    made = Client(server)  # type: ignore[arg-type]
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: made, sock=ours)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield theirs
    finally:
        theirs.close()
        transport.abort()


async def replies(theirs: socket.socket, count: int) -> list[Any]:
    frames, found = wire.Frames(), []
    while len(found) < count:
        data = await asyncio.get_running_loop().sock_recv(theirs, 65_536)
        if not data:
            break
        found += frames.feed(data)
    return found


def sent(*requests: list[Any]) -> bytes:
    return b"".join(map(wire.frame, requests))


async def test_requests_are_answered_in_order_however_they_arrive() -> None:
    server = FakeServer()
    async with connected(server) as theirs:
        body = sent(*([number, "count", [number]] for number in range(200)))
        for at in range(0, len(body), 7):
            theirs.send(body[at : at + 7])
            await asyncio.sleep(0)
        assert await replies(theirs, 200) == [[number, None, [number]] for number in range(200)]


async def test_a_flood_of_one_client_does_not_hold_up_another() -> None:
    server = FakeServer()
    async with connected(server) as flood, connected(server) as other:
        flood.send(sent(*([number, "count", ["flood"]] for number in range(500))))
        other.send(sent([1, "count", ["other"]]))
        assert await replies(other, 1) == [[1, None, ["other"]]]
        assert server.asked.index(("count", ["other"])) < 20
        assert len(await replies(flood, 500)) == 500


async def test_a_client_that_takes_no_answers_is_not_read_from() -> None:
    server = FakeServer()
    async with connected(server) as theirs:
        loop = asyncio.get_running_loop()
        answer = "x" * 20_000
        flood = asyncio.create_task(
            loop.sock_sendall(theirs, sent(*([number, "count", [answer]] for number in range(2_000))))
        )
        await asyncio.sleep(0.2)
        asked = len(server.asked)
        assert asked < 500, "its answers pile up"
        await asyncio.sleep(0.1)
        assert len(server.asked) == asked
        assert len(await replies(theirs, 2_000)) == 2_000
        await flood


async def test_so_many_writes_at_a_time_and_reads_behind_them_wait() -> None:
    server = FakeServer()
    async with connected(server) as theirs:
        count = engine._IN_FLIGHT + 5
        theirs.send(sent(*([number, "upsert", []] for number in range(count)), [99, "count", []]))
        await asyncio.sleep(0.1)
        assert server.asked == [("upsert", [])] * engine._IN_FLIGHT
        server.release.set()
        found = await replies(theirs, count + 1)
        assert sorted(number for number, _, _ in found) == sorted([*range(count), 99])
        assert ("count", []) in server.asked


async def test_writes_in_progress_are_finished_when_their_client_has_gone() -> None:
    server = FakeServer()
    async with connected(server) as theirs:
        theirs.send(sent([1, "upsert", []], [2, "count", []]))
        assert await replies(theirs, 1) == [[2, None, []]]
        theirs.close()
        await asyncio.sleep(0.05)
        assert server.clients, "its write is still in progress"
        server.release.set()
        await server.gone.wait()
        assert server.clients == []


async def test_who_has_said_all_still_gets_the_answers() -> None:
    server = FakeServer()
    async with connected(server) as theirs:
        theirs.send(sent([1, "upsert", []], [2, "count", [5]]))
        theirs.shutdown(socket.SHUT_WR)
        server.release.set()
        assert sorted(await replies(theirs, 3)) == [[1, None, "written"], [2, None, [5]]]
        await server.gone.wait()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "does not speak"),
        (wire.frame("no request"), "unpack"),
        (wire.frame(5), "unpack"),
        (wire.frame([1, "count"]), "unpack"),
    ],
    ids=["another protocol", "a text", "a number", "too short"],
)
async def test_who_does_not_make_sense_is_told_and_cut_off(data: bytes, why: str) -> None:
    server = FakeServer()
    async with connected(server) as theirs:
        theirs.send(data)
        ((number, (kind, message), result),) = await replies(theirs, 2)
        assert (number, kind, result) == (0, "CollectionError", None)
        assert why in message
        await server.gone.wait()


async def test_half_a_frame_is_no_goodbye() -> None:
    server = FakeServer()
    async with connected(server) as theirs:
        theirs.send(sent([1, "count", []])[:-1])
        theirs.shutdown(socket.SHUT_WR)
        ((number, (_, message), _),) = await replies(theirs, 2)
        assert (number, server.asked) == (0, [])
        assert "inside a frame" in message
        await server.gone.wait()
