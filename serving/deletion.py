"""Delete a document through the indexing room, which knows how to do it safely."""

from __future__ import annotations

from indexing.settings import Settings
from serving.threads import to_the_end


class Deleter:
    """Deletes documents of one home folder, beside a running ingest or without one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def delete(self, tenant: str, doc_id: str) -> None:
        """Make a document invisible to every search; its vectors follow.

        While an ingest is writing, that process removes the vectors.

        Raises:
            NotFoundError: there is no such document.
        """
        await to_the_end(self._delete, tenant, doc_id)

    def _delete(self, tenant: str, doc_id: str) -> None:
        from indexing.ingest import delete_document
        from indexing.session import Index

        # An index of its own: its bridge runs the collection on another event loop.
        with Index.open(self._settings, with_encoders=False) as index:
            delete_document(index, tenant, doc_id)
