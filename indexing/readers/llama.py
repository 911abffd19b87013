"""The readers as a LlamaIndex reader, for ``SimpleDirectoryReader(file_extractor=...)``.

Why not ``llama-index-readers-file``: it installs pandas, its PDF reader gives
one document per page (sentences across pages are torn), and none of its
readers gives headings, table rows as units, or offsets into one text; its
HTML and EPUB readers lose tables, and errors arrive as each library's own.

``SimpleDirectoryReader`` prints a file that fails and drops it unless it is
given ``raise_on_error=True``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document

from indexing.identity import file_doc_id
from indexing.readers.registry import media_type, read_file, supported_suffixes
from indexing.records import Extraction

_DEFAULT_MAX_BYTES = 256_000_000


class WinnowReader(BaseReader):
    """A LlamaIndex reader over :func:`~indexing.readers.read_file`.

    Each document's metadata holds the title and fields of the file under
    LlamaIndex's names (``file_path``, ``file_name``, ``file_type``,
    ``file_size``), and ``headings``, ``pages`` and ``units`` as offsets into
    its text.  All keys are excluded from embeddings and prompts: the default
    would put them in front of every chunk's text.
    """

    def __init__(self, max_bytes: int = _DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes

    def lazy_load_data(
        self, file: str | os.PathLike[str], extra_info: Mapping[str, Any] | None = None
    ) -> Iterable[Document]:
        """Yield the documents of one local file.

        Args:
            file: its path.
            extra_info: added to the metadata, as ``SimpleDirectoryReader`` passes it.

        Raises:
            ReadError: as :func:`~indexing.readers.read_file`.
        """
        path = Path(file)
        with path.open("rb") as stream:
            own_id = file_doc_id(hashlib.file_digest(stream, "sha256").hexdigest())
        for number, extraction in enumerate(read_file(path, max_bytes=self._max_bytes)):
            doc_id = extraction.doc_id or (own_id if number == 0 else f"{own_id}-{number}")
            yield _document(extraction, path, doc_id, dict(extra_info or {}))


def _document(extraction: Extraction, path: Path, doc_id: str, extra: dict[str, Any]) -> Document:
    metadata: dict[str, Any] = {
        "file_path": str(path),
        "file_name": path.name,
        "file_type": media_type(path),
        "file_size": path.stat().st_size,
        **extraction.metadata,
        "title": extraction.title,
        "headings": [[heading.offset, heading.level, heading.text] for heading in extraction.headings],
        "pages": list(extraction.pages),
        "units": [list(span) for span in extraction.units],
        **extra,
    }
    return Document(
        id_=doc_id,
        text=extraction.text,
        metadata=metadata,
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=list(metadata),
    )


def file_extractor(max_bytes: int = _DEFAULT_MAX_BYTES) -> dict[str, BaseReader]:
    """Return the ``file_extractor`` for ``SimpleDirectoryReader``: one reader for every suffix it can meet.

    It looks a reader up by the last suffix alone, so ``.gz`` is listed bare.
    """
    reader = WinnowReader(max_bytes)
    return {suffix if suffix.count(".") == 1 else ".gz": reader for suffix in supported_suffixes()}
