"""Child process of a rebuild: ``python -m indexing.collection.builder HOME SHARD``.

Optimizes the shard folder in place and writes ``{"changed": ...}`` to stdout.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from indexing.collection.edge import Shard
from indexing.collection.layout import Layout, read_description

_NICENESS = 10
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; a no-op elsewhere.

    The engine holds the GIL while it optimizes, so a watching thread would not run.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def build(home: Path, path: Path) -> bool:
    """Optimize the shard in ``path``; whether that changed anything."""
    spec, parameters = read_description(Layout(home))
    shard = Shard.load(path, spec, parameters)
    changed = shard.optimize()
    shard.state.pending = 0
    shard.state.stale = shard.counts_deleted
    shard.close()
    return changed


def main(arguments: list[str]) -> int:
    home, path = arguments
    parent = os.getppid()
    die_with_parent()
    if os.getppid() != parent:
        return 1
    os.nice(_NICENESS)
    changed = build(Path(home), Path(path))
    sys.stdout.write(json.dumps({"changed": changed}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
