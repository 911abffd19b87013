"""A Qdrant server's alias for the collection that is served, for everyone but Winnow.

Winnow itself asks the catalogue which generation is served and names that
collection: an alias alone could move between the encoding of a query and its
search, and a vector of one encoder would be looked up among another's.
"""

from __future__ import annotations

from qdrant_client import models

from indexing.collection.qdrant import client_call
from indexing.collection.server import make_client, shown_address
from indexing.settings import CollectionSettings


def alias_of(settings: CollectionSettings) -> str:
    """The alias's name; the plain name is that of the first generation itself."""
    return f"{settings.name}.served"


async def point_alias(settings: CollectionSettings, alias: str) -> bool:
    """Have ``alias`` name the collection of these settings, atomically; whether that changed it.

    Raises:
        CollectionUnavailableError: nobody answers at the address.
        CollectionError: the server refuses.
    """
    client = make_client(settings)
    try:
        with client_call("move the alias", shown_address(settings.url)):
            found = {one.alias_name: one.collection_name for one in (await client.get_aliases()).aliases}
            if found.get(alias) == settings.name:
                return False
            operations: list[models.AliasOperations] = []
            if alias in found:
                leaves = models.DeleteAlias(alias_name=alias)
                operations.append(models.DeleteAliasOperation(delete_alias=leaves))
            comes = models.CreateAlias(collection_name=settings.name, alias_name=alias)
            operations.append(models.CreateAliasOperation(create_alias=comes))
            await client.update_collection_aliases(operations)
            return True
    finally:
        await client.close()
