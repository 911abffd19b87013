"""From the options of ``migrate start`` to the encoders of the new generation."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from indexing.errors import InputError
from indexing.migration.sides import settings_of
from indexing.session import Index
from indexing.settings import CollectionSettings, EncoderSettings


def target_of(
    index: Index, encoders: Mapping[str, object], collection: Mapping[str, object]
) -> tuple[EncoderSettings, CollectionSettings]:
    """Return what is in use with the named changes; None in ``encoders`` or ``collection``: unchanged.

    Without any change it is what the migration under way builds.

    Raises:
        InputError: no change is named and no migration is under way, or a value is not accepted.
    """
    changed = {name: value for name, value in encoders.items() if value is not None}
    fixed = {name: value for name, value in collection.items() if value is not None}
    beside = index.pair.beside
    if not changed and not fixed:
        if beside is None:
            raise InputError("name what changes, as in: python -m indexing migrate start --dense FOLDER")
        settings = settings_of(index.configured, beside)
        return settings.encoders, settings.collection
    try:
        return (
            EncoderSettings.model_validate({**index.settings.encoders.model_dump(), **changed}),
            CollectionSettings.model_validate(
                {
                    **index.settings.collection.model_dump(),
                    **fixed,
                    "name": index.configured.collection.name,
                }
            ),
        )
    except ValidationError as error:
        lines = [f"{item['loc'][0]}: {item['msg']}" for item in error.errors(include_url=False)]
        raise InputError("; ".join(lines)) from error
