"""What a parser process may not do: limits that the system enforces on it, set before any parser loads.

Source: setrlimit(2), prctl(2); audit events of PEP 578.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_OPEN_FILES = 64
_PARENT_POLL_S = 1.0
# A parser has no business with any of these; ctypes calls of PDFium are not events.
_REFUSED = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
)
# What Python, its libraries and the loader need; no key or password is among them.
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")


def environment(search_path: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of a parser process: the few it needs, and one thread for the number libraries."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    locale = {name: value for name, value in os.environ.items() if name.startswith("LC_")}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**kept, **locale, **threads, "PYTHONPATH": os.pathsep.join(filter(None, search_path))}


def confine(parent: int, memory_mb: int) -> None:
    """Limit this process for good: memory, files, core dumps, privileges, network; die with ``parent``.

    It can read files as its user can; it cannot write one (RLIMIT_FSIZE 0).
    """
    _die_with(parent)
    memory = memory_mb * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    sys.addaudithook(_refuse)


def allow_cpu(seconds: float) -> None:
    """Let this process use ``seconds`` more of processor time; the system kills it beyond (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _die_with(parent: int) -> None:
    """A killed parent must not leave a parser behind that hangs for ever."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0:
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)
            return
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def _refuse(event: str, _arguments: tuple[object, ...]) -> None:
    if event in _REFUSED:
        raise PermissionError(f"a parser must not do this: {event}")
