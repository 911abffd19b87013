"""Every hostile file: what any format can suffer, and what is particular to each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from benchmarks.hostile_files import data, office, packages, pages, pdfs
from benchmarks.hostile_files.honest import honest
from benchmarks.hostile_files.record import CLEAN, DAMAGED, EMPTY, LIMIT, MAX_FILE_MB, HostileFile

SEED = 20_260_101
_PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"\x00" * 200
_PROSE = ("txt", "md", "rst", "tex", "py", "html", "xhtml", "csv", "txt.gz")


def corpus() -> list[HostileFile]:
    """Return all files; names are unique."""
    found = [*_generic(), *pdfs.files(), *packages.common_files(), *office.files()]
    found += [*pages.files(), *data.files()]
    twice = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if twice:
        raise ValueError(f"hostile files share a name: {', '.join(twice)}")
    return found


def _generic() -> list[HostileFile]:
    """Nothing, noise, a half, another format's bytes, and too much, for every format."""
    found: list[HostileFile] = []
    for suffix, good in honest().items():
        packed = suffix.endswith(".gz")
        half = good[: len(good) // 2]
        cases: list[tuple[str, str, str, Callable[[], bytes]]] = [
            ("empty", "no bytes at all", _empty(suffix), partial(bytes, b"")),
            ("noise", "random bytes", DAMAGED, partial(_noise, suffix)),
            ("picture", "a PNG under another name", DAMAGED, partial(bytes, _PNG)),
            ("half", "the first half", _half(suffix), partial(bytes, half)),
        ]
        if not packed:
            large = int(MAX_FILE_MB * 1e6) + 1
            cases.append(("large", "a byte too many", LIMIT, partial(_padded, good, large)))
        found += [HostileFile(f"{name}.{suffix}", *rest) for name, *rest in cases]  # type: ignore[arg-type]
    return found


def _empty(suffix: str) -> str:
    return EMPTY if suffix in (*_PROSE, "jsonl") else DAMAGED


def _half(suffix: str) -> str:
    """Half a text is a text."""
    return CLEAN if suffix in _PROSE and suffix != "txt.gz" else DAMAGED


def _noise(suffix: str) -> bytes:
    return random.Random(f"{SEED}{suffix}").randbytes(20_000)  # noqa: S311 - no secret


def _padded(good: bytes, size: int) -> bytes:
    return good + b" " * (size - len(good))
