"""The client's end of the engine's socket: every waiter ends, whatever the other end does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from indexing.collection import wire
from indexing.collection.connection import Connection
from indexing.errors import CollectionError, CollectionUnavailableError, ConnectionLostError

PATIENCE_S = 10

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connection, socket.socket]]:
    """A connection and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, connection = await asyncio.get_running_loop().create_connection(Connection, sock=ours)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield connection, theirs
            await connection.close()
    finally:
        theirs.close()


async def read(theirs: socket.socket) -> object:
    frames = wire.Frames()
    while True:
        for body in frames.feed(await asyncio.get_running_loop().sock_recv(theirs, 65_536)):
            return body


async def test_answers_find_their_waiters_however_they_arrive() -> None:
    async with connected() as (connection, theirs):
        first = asyncio.create_task(connection.request("count", []))
        assert await read(theirs) == [1, "count", []]
        second = asyncio.create_task(connection.request("info", []))
        assert await read(theirs) == [2, "info", []]
        answers = (
            wire.frame([2, None, "two"]) + wire.frame([7, None, "nobody's"]) + wire.frame([1, None, "one"])
        )
        for at in range(len(answers)):
            theirs.send(answers[at : at + 1])
            await asyncio.sleep(0)
        assert (await first, await second) == ("one", "two")
        third = asyncio.create_task(connection.request("info", []))
        await read(theirs)
        theirs.send(wire.frame([3, wire.error_to_wire(CollectionError("no such thing")), None]))
        with pytest.raises(CollectionError, match="no such thing"):
            await third
        assert connection.alive


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "went away"),
        (wire.frame([1, None, "x"])[:-1], "inside a frame"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "does not speak"),
        (wire.frame([1, None]), "went away"),
    ],
    ids=["nothing", "half a frame", "another protocol", "no answer"],
)
async def test_an_end_of_the_other_side_ends_every_waiter(sent: bytes, why: str) -> None:
    """And the connection is dead from then on: else a second attempt would find it alive."""
    async with connected() as (connection, theirs):
        waiting = [asyncio.create_task(connection.request("count", [])) for _ in range(2)]
        await asyncio.sleep(0)
        theirs.send(sent)
        theirs.shutdown(socket.SHUT_RDWR)
        for one in waiting:
            with pytest.raises(ConnectionLostError, match=why):
                await one
        assert not connection.alive
        with pytest.raises(ConnectionLostError):
            await connection.request("count", [])


async def test_the_engines_word_that_it_cuts_us_off_is_passed_on() -> None:
    async with connected() as (connection, theirs):
        waiting = asyncio.create_task(connection.request("count", []))
        await read(theirs)
        theirs.send(wire.frame([0, wire.error_to_wire(CollectionError("malformed request")), None]))
        with pytest.raises(CollectionError, match="malformed request"):
            await waiting
        assert not connection.alive


async def test_a_request_that_is_not_read_waits_and_a_close_ends_it() -> None:
    async with connected() as (connection, _):
        waiting = asyncio.create_task(connection.request("upsert", [b"x" * 2**24]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await connection.close()
        with pytest.raises(CollectionUnavailableError, match="was closed"):
            await waiting
        assert not connection.alive


async def test_a_large_request_is_sent_whole_while_others_wait() -> None:
    async with connected() as (connection, theirs):
        body = b"y" * 2**22
        large = asyncio.create_task(connection.request("upsert", [body]))
        small = asyncio.create_task(connection.request("count", []))
        frames, found = wire.Frames(), []
        while len(found) < 2:
            found += frames.feed(await asyncio.get_running_loop().sock_recv(theirs, 2**20))
        assert found == [[1, "upsert", [body]], [2, "count", []]]
        theirs.send(wire.frame([1, None, True]) + wire.frame([2, None, 5]))
        assert (await large, await small) == (True, 5)


async def test_a_caller_that_gives_up_leaves_the_connection_to_the_others() -> None:
    async with connected() as (connection, theirs):
        given_up = asyncio.create_task(connection.request("search", []))
        await read(theirs)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        other = asyncio.create_task(connection.request("count", []))
        await read(theirs)
        theirs.send(wire.frame([1, None, "late"]) + wire.frame([2, None, 5]))
        assert await other == 5


class OtherLoopsTransport:
    """What another event loop (uvloop) hands over: a stream that is no ``asyncio.Transport``."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None: ...


async def test_the_transport_of_another_event_loop_will_do() -> None:
    transport, connection = OtherLoopsTransport(), Connection()
    connection.connection_made(transport)
    waiting = asyncio.create_task(connection.request("count", []))
    await asyncio.sleep(0)
    assert list(wire.Frames().feed(transport.written[0])) == [[1, "count", []]]
    connection.data_received(wire.frame([1, None, 3]))
    assert await waiting == 3
