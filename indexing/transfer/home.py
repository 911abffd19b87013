"""The settings of an index that must be there already."""

from __future__ import annotations

from pathlib import Path

from indexing.errors import InputError
from indexing.settings import Settings, load_settings


def existing_home(home: Path | None) -> Settings:
    """The settings of the index in ``home``.

    Raises:
        InputError: there is none.
    """
    settings = load_settings() if home is None else load_settings(home=home)
    if settings.catalog.url is None and not (settings.home / "catalog.db").exists():
        raise InputError(f"no index at {settings.home}; create one with: python -m indexing PATH")
    return settings
