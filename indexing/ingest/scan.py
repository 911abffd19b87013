"""Which files lie under the given paths: sorted, each folder once, nothing skipped silently."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from indexing.errors import InputError

# Stored text is Unicode; a Linux file name need not be.
_UNDECODABLE = "file:"


@dataclass(slots=True)
class Scan:
    """What was found; ``failures`` are pairs of path and reason."""

    files: list[Path] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)


def scan_paths(
    paths: Sequence[Path],
    suffixes: Collection[str],
    *,
    home: Path,
    allow_missing: bool = False,
    outside_links: bool = False,
) -> Scan:
    """Return the readable files under ``paths``, absolute, sorted, without repeats.

    A folder that links lead to twice is walked once.  Hidden entries, files
    with other suffixes and special files are counted in ``skipped``; a file
    that is named itself is always kept.

    Args:
        suffixes: accepted endings, lower case with their dot; ".jsonl.gz" may be one.
        home: the index's own folder; what lies in it is left out.
        allow_missing: a path that is gone counts as empty (``--prune``).
        outside_links: follow links whose target lies in none of ``paths``;
            else they are counted in ``skipped``.

    Raises:
        InputError: a path does not exist.
    """
    scan = Scan()
    found: set[Path] = set()
    own = _identity(home)
    seen: set[tuple[int, int]] = {own} if own is not None else set()
    scan.roots = [Path(os.path.abspath(path.expanduser())) for path in paths]
    inside = None if outside_links else [os.path.realpath(root) for root in scan.roots]
    for path, root in zip(paths, scan.roots, strict=True):
        if not root.exists():
            if not allow_missing:
                raise InputError(f"{path}: no such file or folder")
        elif root.is_dir():
            _walk(root, suffixes, inside, scan, found, seen)
        else:
            found.add(root)
    scan.files = sorted(found)
    return scan


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _walk(
    folder: Path,
    suffixes: Collection[str],
    inside: Sequence[str] | None,
    scan: Scan,
    found: set[Path],
    seen: set[tuple[int, int]],
) -> None:
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            status = current.stat()
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            scan.failures.append((source_uri(current), f"folder not readable: {error.strerror or error}"))
            continue
        if (status.st_dev, status.st_ino) in seen:
            scan.skipped["folder seen before, or the index itself"] += 1
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            kind = _kind(entry, suffixes, inside)
            if kind == "folder":
                waiting.append(Path(entry.path))
            elif kind == "file":
                found.add(Path(entry.path))
            else:
                scan.skipped[kind] += 1


def _kind(entry: os.DirEntry[str], suffixes: Collection[str], inside: Sequence[str] | None) -> str:
    """ "folder", "file", or why the entry is left out."""
    if entry.name.startswith("."):
        return "hidden"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "broken link"
    if inside is not None and entry.is_symlink() and not _leads_inside(entry.path, inside):
        return "link that leads outside"
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        return "special file"
    name = entry.name.lower()
    if any(name.endswith(suffix) for suffix in suffixes):
        return "file"
    return Path(name).suffix or "no suffix"


def _leads_inside(link: str, roots: Sequence[str]) -> bool:
    target = os.path.realpath(link)
    return any(os.path.commonpath((root, target)) == root for root in roots)


def source_uri(path: Path) -> str:
    """The absolute path as text; one that is no UTF-8 is percent-encoded behind ``file:``."""
    raw = os.fsencode(path)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _UNDECODABLE + quote_from_bytes(raw)


def source_path(uri: str) -> bytes:
    """The file that a URI made by :func:`source_uri` names."""
    if uri.startswith(_UNDECODABLE):
        return unquote_to_bytes(uri.removeprefix(_UNDECODABLE))
    return uri.encode()
