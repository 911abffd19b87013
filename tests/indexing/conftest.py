"""A folder of files, and an index of fakes over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexing.session import Index
from tests.fakes.index_parts import fake_index, fake_settings


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = fake_index(fake_settings(tmp_path / "home", read_workers=0))
    yield opened
    opened.close()
