"""One hostile file: what it tries, and the one outcome that is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

CLEAN = "clean"
DAMAGED = "damaged-file"
EMPTY = "empty-file"
ENCRYPTED = "encrypted-file"
LIMIT = "read-limit"
CRASH = "parser-crash"  # PDFium ends its process where memory is refused to it

# What the expectations are made for: small, so that a bomb is found in a second.
MAX_FILE_MB = 8.0
MEMORY_MB = 512
CPU_S = 10.0
TIMEOUT_S = 60.0

# In no document's text: what an entity or a link would have to bring in.
SECRET = "root:x:0"  # noqa: S105 - the first line of /etc/passwd
SECRET_URL = "file:///etc/passwd"  # noqa: S105
# What must not be there afterwards: a program that ran, a name that led out of its file.
CANARIES = (Path("/tmp/winnow-hostile-canary"), Path("/tmp/winnow-hostile-slip"))  # noqa: S108
METADATA_URL = "http://169.254.169.254/latest/meta-data/"


_WORDS = """
    flate-bomb.pdf flate-nested.pdf flate-text-bomb.pdf form-loop.pdf form-bomb.pdf cmap-bomb.pdf
    row-huge.xlsx attributes.html spans.docx quotes.txt field.csv bomb.jsonl.gz members.docx members.pptx
    members.xlsx members.epub parts.eml headings.md
"""
_HEAVY = frozenset(_WORDS.split())


@dataclass(frozen=True, slots=True)
class HostileFile:
    """``expect`` is an error's kind in words, or "clean": read without harm, its text indexed.

    ``heavy`` files keep a parser busy for seconds, until a limit ends it or not.
    """

    name: str
    attack: str
    expect: str
    make: Callable[[], bytes]

    @property
    def heavy(self) -> bool:
        return self.name in _HEAVY

    @property
    def format(self) -> str:
        """The format by suffix, ``gz`` for whatever is packed."""
        return Path(self.name).suffix.lstrip(".")

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.make())
        return path


def fixed(data: bytes | str) -> Callable[[], bytes]:
    return partial(_as_bytes, data)


def repeated(head: bytes, body: bytes, times: int, tail: bytes = b"") -> Callable[[], bytes]:
    return partial(_repeat, head, body, times, tail)


def _as_bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _repeat(head: bytes, body: bytes, times: int, tail: bytes) -> bytes:
    return head + body * times + tail
