"""An engine process that kills itself at a named point of a rebuild, or a plain writer client.

``python -m tests.fakes.engine_killed FOLDER POINT``
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from indexing.collection.engine import serve


def main(folder: str, at: str) -> None:
    def checkpoint(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(serve(Path(folder), idle_exit_s=1.0, optimize_after=0, checkpoint=checkpoint))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
