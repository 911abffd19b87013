"""From what a server says of its answer to the reader that is to read it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from indexing.errors import FetchError
from indexing.readers import media_type, suffix_of, supported_suffixes

_UNKNOWN = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_PREFERRED = (".html", ".txt", ".md", ".pdf", ".json", ".jsonl", ".csv", ".tsv", ".eml")
_ALIASES = {
    "text/x-markdown": ".md",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/jsonl": ".jsonl",
    "application/jsonlines": ".jsonl",
    "text/x-python": ".py",
}


def suffix_for(content_type: str, url_path: str) -> str:
    """Return the suffix to store an answer under: it decides the reader.

    The content type decides; the path's own suffix does where that says only
    "text" or "bytes".

    >>> suffix_for("text/html; charset=utf-8", "/a/b.php"), suffix_for("text/plain", "/notes.md")
    ('.html', '.md')

    Raises:
        FetchError: no reader reads such content.
    """
    kind = content_type.partition(";")[0].strip().lower()
    named = suffix_of(_path(url_path))
    if named and (kind in _UNKNOWN or kind == media_type(_path(url_path))):
        return named
    if named.endswith(".gz") and kind in ("application/gzip", "application/x-gzip"):
        return named
    if kind == "text/plain":
        return named if named + ".gz" in supported_suffixes() else ".txt"
    found = _ALIASES.get(kind) or _by_type().get(kind)
    if found is None:
        raise FetchError(f"content of type {kind or 'unknown'!r} is not read")
    return found


def _path(url_path: str) -> Path:
    return Path(url_path.rsplit("/", 1)[-1] or "index")


@cache
def _by_type() -> dict[str, str]:
    found: dict[str, str] = {}
    plain = sorted(suffix for suffix in supported_suffixes() if not suffix.endswith(".gz"))
    for suffix in (*_PREFERRED, *plain):
        found.setdefault(media_type(Path("x" + suffix)), suffix)
    return found
