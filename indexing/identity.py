"""Deterministic identities: the same content gets the same ids on every run.

A sentence's point id is a function of tenant, document, version and ordinal
alone, so a re-run overwrites instead of adding, the ids of a sentence's
neighbours can be computed without a look-up, and a hit's id says which sentence
it is without a look at the hit's payload.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from uuid import UUID

from indexing.errors import InputError
from indexing.records import Extraction

_SEPARATOR = "\x1f"
_ORDINALS = 2**32
_PREFIX_CHARS = 28
_PREFIX_BYTES = 12
_DOCUMENTS_KEPT = 4096  # the sentences of one document are named one after the other

POINT_IDS = 2
"""Which ids :func:`point_id` gives; 1 was UUIDv5, from which nothing could be read back."""


def point_id(tenant: str, doc_id: str, version: str, ordinal: int) -> str:
    """Return the id of one sentence, a UUIDv8 (RFC 9562): its document's :func:`point_prefix`, its ordinal.

    A search needs nothing but its hits' ids to know where they stand; see
    :func:`split_point_id`.

    Raises:
        InputError: what :func:`point_prefix` refuses, or an ordinal outside 0 to 2**32 - 1.

    >>> point_id("default", "report", "0123456789abcdef", 26)
    'cda58f22-626a-88c3-a260-bd350000001a'
    """
    if not 0 <= ordinal < _ORDINALS:
        raise InputError(f"a sentence's ordinal is a number from 0 to {_ORDINALS - 1}, not {ordinal!r}")
    return f"{point_prefix(tenant, doc_id, version)}{ordinal:08x}"


@lru_cache(_DOCUMENTS_KEPT)
def point_prefix(tenant: str, doc_id: str, version: str) -> str:
    """Return what the ids of a version's sentences begin with: 90 bits of SHA-256, as a UUIDv8 has them.

    Raises:
        InputError: a part that is not valid Unicode, or that holds U+001F,
            which separates the parts (two different documents could meet).
    """
    parts = (tenant, doc_id, version)
    if any(_SEPARATOR in part for part in parts):
        raise InputError("a tenant, document id or version must not hold the control character U+001F")
    try:
        digest = hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise InputError(f"the id {doc_id!a} of tenant {tenant!a} is not valid Unicode text") from error
    variant = "89ab"[int(digest[15], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-{variant}{digest[16:19]}-{digest[19:23]}"


def split_point_id(identity: str) -> tuple[str, int]:
    """Return the :func:`point_prefix` and the ordinal that an id was made of.

    >>> split_point_id("cda58f22-626a-88c3-a260-bd350000001a")
    ('cda58f22-626a-88c3-a260-bd35', 26)
    """
    return identity[:_PREFIX_CHARS], int(identity[_PREFIX_CHARS:], 16)


def prefix_of(identity: str) -> str:
    """Return an id's :func:`point_prefix`: the same for all sentences of one version of a document."""
    return identity[:_PREFIX_CHARS]


def key_of_id(identity: str) -> bytes:
    """Return a UUID's text as its 16 bytes, which sort as the (lower case) texts do.

    Raises:
        ValueError: it is not a UUID.

    >>> key_of_id("cda58f22-626a-88c3-a260-bd350000001a").hex()
    'cda58f22626a88c3a260bd350000001a'
    """
    return UUID(identity).bytes


def id_of_key(key: bytes) -> str:
    """Return the UUID's text that :func:`key_of_id` packed."""
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def prefix_of_key(key: bytes) -> bytes:
    """Return :func:`prefix_of` of a packed id, packed."""
    return key[:_PREFIX_BYTES]


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
