"""Which reranker to run: reads the registry of models in a home folder.

::

    <home>/models/
    ├── current.json     the pointer: which model is promoted, and how it came to that
    └── <name>-<hash>/   a model folder, named by its content

``python -m distill models`` writes it, and replaces the pointer in one rename:
a reader sees the old pointer or the new one, never half of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from indexing.errors import EncoderError, SettingsError
from indexing.settings import RerankSettings

MODELS = "models"
POINTER = "current.json"
SHIPPED = Path(__file__).parent / "models" / "starter-reranker"
# Names that python -m distill models gives; also keeps a pointer from leading out of the folder.
MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(_Record):
    """One step in the pointer's history; ``model`` None is "back to the shipped one"."""

    action: Literal["promote", "rollback"]
    model: str | None = Field(pattern=MODEL_ID)
    previous: str | None = Field(pattern=MODEL_ID)
    at: str
    forced: bool = False
    gate: Mapping[str, JsonValue] | None = None


class Pointer(_Record):
    """The promoted model, None for the shipped one, and every change, oldest first."""

    format: Literal[1] = 1
    model: str | None = Field(None, pattern=MODEL_ID)
    history: tuple[Change, ...] = ()


def read_pointer(home: Path) -> Pointer:
    """Return the pointer of a home folder; an empty one where nothing was ever promoted.

    Raises:
        EncoderError: the file is there and is no pointer.
    """
    path = home / MODELS / POINTER
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Pointer()
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise EncoderError(f"{path} is not a pointer of the model registry: {error}") from error


def promoted_model(home: Path) -> Path | None:
    """Return the folder of the promoted model, None when there is none.

    Raises:
        EncoderError: the pointer is damaged, or names a folder that is gone.
    """
    name = read_pointer(home).model
    if name is None:
        return None
    folder = home / MODELS / name
    if not folder.is_dir():
        raise EncoderError(
            f"the promoted model {name!r} is not in {home / MODELS}; "
            "promote another one, or go back: python -m distill models rollback"
        )
    return folder


def chosen_model(settings: RerankSettings, home: Path | None) -> Path | None:
    """Return the folder that ``rerank.model`` means, None for no second stage.

    "auto" is the promoted model, else the one that comes with Winnow.

    Raises:
        SettingsError: the setting names no folder.
        EncoderError: see :func:`promoted_model`.
    """
    if settings.model == "none":
        return None
    if settings.model != "auto":
        folder = Path(settings.model).expanduser()
        if not folder.is_dir():
            raise SettingsError(
                f"rerank.model is {settings.model!r}, which is not a model folder; accepted: 'auto', 'none' "
                "or a folder (models are not downloaded)"
            )
        return folder
    promoted = None if home is None else promoted_model(home)
    if promoted is not None:
        return promoted
    return SHIPPED if SHIPPED.is_dir() else None
