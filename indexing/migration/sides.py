"""From a listed generation to the settings that open its collection and its encoders."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.catalog.generations import Generation, Pair
from indexing.settings import EncoderSettings, Settings

logger = logging.getLogger(__name__)

# Each process's own choice: the rest of the encoder settings decides the stored vectors.
_OWN = frozenset({"runtime", "precision", "threads", "token_budget", "bm25_question_words"})
# What is fixed when a collection is created.
_PARAMETERS = frozenset({"quantization", "hnsw_m", "hnsw_ef_construct", "tokens_format"})
_FOLDERS = ("dense", "sparse", "late_interaction")


def identity_of(encoders: EncoderSettings) -> dict[str, Any]:
    """Return the settings that decide the vectors, folders by their whole path."""
    from indexing.encoders import MODELS

    values = encoders.model_dump(mode="json", exclude=set(_OWN))
    for name in _FOLDERS:
        folder = Path(values.get(name, "")).expanduser()
        # A shipped name stays one, as it does for the encoders: it moves with the installation.
        if str(folder) not in (".", "") and not (MODELS / str(values[name])).is_dir() and folder.is_dir():
            values[name] = str(folder.absolute())
    return values


def described(settings: Settings) -> dict[str, Any]:
    """Return a generation as the catalogue lists it."""
    return {
        "collection": settings.collection.name,
        "encoders": identity_of(settings.encoders),
        "parameters": settings.collection.model_dump(mode="json", include=set(_PARAMETERS)),
    }


def served_settings(settings: Settings, pair: Pair) -> Settings:
    """Return the settings of the generation that is served.

    While a second one is listed, the catalogue says by which encoders each was
    made, whatever is configured: the configuration is changed in between.
    Before and after, the configured encoders count, and the collection refuses
    others than its own.  A configuration that still names those of the dropped
    generation is known for what it is: a change that was forgotten.
    """
    if pair.served is None:
        return settings
    if pair.other is None:
        if pair.replaced is None or identity_of(settings.encoders) != pair.replaced:
            return _with(settings, pair.served.collection, {}, {})
        logger.warning(
            "the configuration names the encoders of a generation that was dropped; those of generation %d "
            "are used: %s",
            pair.served.number,
            changes(settings.encoders, pair.served),
        )
    return settings_of(settings, pair.served)


def changes(encoders: EncoderSettings, generation: Generation) -> str:
    """Return the settings that would have to change for these encoders to be the generation's; "": none."""
    configured = identity_of(encoders)
    return ", ".join(
        f"encoders.{name} = {value!r}"
        for name, value in generation.encoders.items()
        if configured.get(name) != value
    )


def settings_of(settings: Settings, generation: Generation) -> Settings:
    """Return ``settings`` with this generation's collection and encoders."""
    return _with(settings, generation.collection, generation.parameters, generation.encoders)


def _with(
    settings: Settings, name: str, parameters: Mapping[str, Any], encoders: Mapping[str, Any]
) -> Settings:
    return settings.model_copy(
        update={
            "collection": settings.collection.model_copy(update={**parameters, "name": name}),
            "encoders": settings.encoders.model_copy(update=dict(encoders)),
        }
    )
