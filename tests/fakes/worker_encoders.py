"""What an encoder process of a test loads."""

from __future__ import annotations

import os
from pathlib import Path

from indexing.settings import EncoderSettings
from tests.fakes.index_parts import FakeEncoders


def load_fake(settings: EncoderSettings, *, average_length: float | None) -> FakeEncoders:
    """The stand-ins; where ``dense`` is a folder, the process id is noted there."""
    folder = Path(settings.dense)
    if settings.dense and folder.is_dir():
        (folder / str(os.getpid())).touch()
    return FakeEncoders(average_length or 1.0)
