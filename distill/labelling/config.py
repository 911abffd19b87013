"""Settings of the labelling commands: options over a TOML file over defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from indexing.errors import SettingsError
from indexing.settings import Section

SectionType = TypeVar("SectionType", bound=Section)


def read_config(path: Path | None, known: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """Return the sections of a TOML file, each a table; none of them when no file is named.

    Raises:
        SettingsError: the file is missing or malformed, or has other sections.
    """
    if path is None:
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error}") from error
    for name, section in found.items():
        if name not in known or not isinstance(section, dict):
            raise SettingsError(f"{path}: {name!r} is none of the sections: {', '.join(known)}")
    return found


def make_section(
    kind: type[SectionType], name: str, fields: Mapping[str, object], options: Mapping[str, object]
) -> SectionType:
    """Return a section from a file's fields and the options that were given (not None).

    Raises:
        SettingsError: an unknown field, or a value out of range.
    """
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return kind.model_validate({**fields, **given})
    except ValidationError as error:
        lines = [
            ".".join([name, *(str(part) for part in item["loc"])]) + f": {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("settings are not valid: " + "; ".join(lines)) from error
