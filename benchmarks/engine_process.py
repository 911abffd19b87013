"""The engine process of an embedded home, as a fault sees it: which one it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct

from indexing.collection.address import read_address
from indexing.collection.layout import layout_of
from indexing.settings import Settings

_PATIENCE_S = 5.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def engine_pid(settings: Settings) -> int | None:
    """Return the process that listens at the collection's address, None when there is none (Linux only)."""
    address = read_address(layout_of(settings))
    if address is None:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE_S)
        try:
            probe.connect(address)
        except OSError:
            return None
        found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[0])


def send_signal(settings: Settings, number: signal.Signals) -> bool:
    """Send the engine process a signal; return whether there was one to send it to."""
    pid = engine_pid(settings)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
