"""Files to :class:`~indexing.records.Extraction` records; parsers load when a format is first read."""

from __future__ import annotations

from indexing.readers.registry import media_type, read_file, suffix_of, supported_suffixes

# Raise it whenever the same file would be extracted or cut differently: stored
# versions cover it, so the files concerned are indexed again.  2: Markdown images are whole.
PIPELINE_VERSION = 2

__all__ = ["PIPELINE_VERSION", "media_type", "read_file", "suffix_of", "supported_suffixes"]
