"""Deterministic identities: the same content gets the same ids on every run.

A sentence's point id is a function of tenant, document, version and ordinal
alone, so a re-run overwrites instead of adding, and the ids of a sentence's
neighbours can be computed without a look-up.
"""

from __future__ import annotations

import hashlib
import json
import uuid

from indexing.errors import InputError
from indexing.records import Extraction

# Fixed for ever: another namespace would orphan every stored point.
NAMESPACE = uuid.UUID("5d0a8f3e-6f0b-5c55-9a53-2b7d1c4e9f10")

_SEPARATOR = "\x1f"


def point_id(tenant: str, doc_id: str, version: str, ordinal: int) -> str:
    """Return the id of one sentence: UUIDv5 over tenant, document, version, ordinal.

    Raises:
        InputError: a part that is not valid Unicode, or that holds U+001F,
            which separates the parts (two different documents could meet).

    >>> point_id("default", "report", "0123456789abcdef", 0)
    '49fbfe97-dab8-54a4-afe7-32899eed48f8'
    """
    if _SEPARATOR in tenant or _SEPARATOR in doc_id or _SEPARATOR in version:
        raise InputError("a tenant, document id or version must not hold the control character U+001F")
    name = f"{tenant}{_SEPARATOR}{doc_id}{_SEPARATOR}{version}{_SEPARATOR}{ordinal}"
    try:
        return str(uuid.uuid5(NAMESPACE, name))
    except UnicodeEncodeError as error:
        raise InputError(f"the id {doc_id!a} of tenant {tenant!a} is not valid Unicode text") from error


def version_of(extraction: Extraction, pipeline_version: int, *, splitting: str = "") -> str:
    """Return the version of a document's content: 16 hex digits of SHA-256.

    It covers everything that reaches the index (text, title, headings, pages,
    units, metadata) and the pipeline that made it, and not where the document
    came from.  The order of metadata keys does not matter.

    Args:
        extraction: what the reader made of the document.
        pipeline_version: raised by us when the same extraction would be
            indexed differently.
        splitting: what the user's settings change about the sentences
            (unit, longest sentence), in any stable form.
    """
    canonical = json.dumps(
        [
            pipeline_version,
            splitting,
            extraction.text,
            extraction.title,
            [[heading.offset, heading.level, heading.text] for heading in extraction.headings],
            list(extraction.pages),
            [list(span) for span in extraction.units],
            dict(extraction.metadata),
        ],
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:16]


def file_doc_id(sha256_hex: str) -> str:
    """Return the id of a document that brings none: 32 hex digits of its file's SHA-256.

    Equal files anywhere are one document with several sources.

    Raises:
        InputError: not the 64 hex digits of a SHA-256.
    """
    digest = sha256_hex.lower()
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise InputError(f"a SHA-256 is 64 hex digits, not {sha256_hex!a}")
    return digest[:32]
