"""Clients that trickle a head or a body, or never read: how long the service keeps them."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass

from benchmarks.load.client import Answer, Connection

_HEAD = b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
_UPLOAD = (
    b"POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
    b"Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
)
_STREAM = b"GET /v1/documents/%s/text HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_TRICKLE_EVERY_S = 1.0
_ASKED_TIMES = 6  # of a text of about 1 MB, against socket buffers of a few MB

KINDS = ("silent", "trickles its head", "trickles a body", "trickles an upload", "never reads")


@dataclass(frozen=True, slots=True)
class SlowClient:
    """One client's fate: seconds until the service closed it, None when it did not."""

    kind: str
    closed_s: float | None


async def _connect(port: int, receive_buffer: int | None = None) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    if receive_buffer is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
    return one


async def slow_client(port: int, kind: str, patience_s: float, document: str) -> SlowClient:
    """Be a client of this kind until the service closes the connection or the patience ends."""
    loop = asyncio.get_running_loop()
    one = await _connect(port, 4096 if kind == "never reads" else None)
    began = time.perf_counter()
    try:
        if kind == "trickles its head":
            await loop.sock_sendall(one, _HEAD)
        elif kind == "trickles a body":
            await loop.sock_sendall(one, _HEAD + b"Content-Length: 1000\r\n\r\n")
        elif kind == "trickles an upload":
            await loop.sock_sendall(one, _UPLOAD)
        elif kind == "never reads":
            return await _never_reads(one, began, patience_s, kind, document)
        while time.perf_counter() - began < patience_s:
            if kind != "silent":
                await loop.sock_sendall(one, b"x" if "head" not in kind else b"X-A: b\r\n")
            if await _closed(one, _TRICKLE_EVERY_S):
                return SlowClient(kind, time.perf_counter() - began)
    except OSError:
        return SlowClient(kind, time.perf_counter() - began)
    finally:
        one.close()
    return SlowClient(kind, None)


async def _closed(one: socket.socket, wait_s: float) -> bool:
    """Return whether the other side ends the connection within a while."""
    try:
        async with asyncio.timeout(wait_s):
            while await asyncio.get_running_loop().sock_recv(one, 4096):
                pass
        return True
    except TimeoutError:
        return False


async def _never_reads(
    one: socket.socket, began: float, patience_s: float, kind: str, document: str
) -> SlowClient:
    """Ask for a text so often that no buffer holds the answers, and read nothing."""
    request = _STREAM % document.encode()
    await asyncio.get_running_loop().sock_sendall(one, request * _ASKED_TIMES)
    while time.perf_counter() - began < patience_s:
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _reset(one):
            return SlowClient(kind, time.perf_counter() - began)
        await asyncio.sleep(_TRICKLE_EVERY_S)
    return SlowClient(kind, None)


def _reset(one: socket.socket) -> bool:
    """Return whether the kernel knows the connection to be over (TCP state CLOSE or CLOSE_WAIT, Linux)."""
    state = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state in (7, 8)


async def slow_clients(
    port: int, count: int, patience_s: float, document: str, request: bytes
) -> tuple[list[SlowClient], list[Answer]]:
    """Return the fate of ``count`` clients of all kinds, and the answers to a normal one beside them."""
    stop = asyncio.Event()

    async def ask() -> list[Answer]:
        answers: list[Answer] = []
        connection = Connection(port)
        while not stop.is_set():
            answers.append(await connection.ask(request))
            await asyncio.sleep(0.2)
        connection.close()
        return answers

    asking = asyncio.create_task(ask())
    fates = await asyncio.gather(
        *(slow_client(port, KINDS[number % len(KINDS)], patience_s, document) for number in range(count))
    )
    stop.set()
    return list(fates), await asking
