"""A large real corpus that every machine with Python has: docstrings.

The speed benchmarks need hundreds of thousands of real English sentences
without a download.  The docstrings of the standard library and of the
installed packages are that: prose by thousands of authors, about as long as
sentences of technical documents.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_BREAK = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])|\n\s*\n")
_SPACE = re.compile(r"\s+")
_MIN_CHARS, _MAX_CHARS = 30, 600
_MIN_LETTER_SHARE = 0.6


def docstring_sentences(limit: int) -> list[str]:
    """Return ``limit`` distinct sentences, in a stable order of files.

    Raises:
        ValueError: this environment holds fewer; install more packages or ask for fewer.
    """
    seen: dict[str, None] = {}
    for text in _docstrings():
        for piece in _BREAK.split(text):
            sentence = _SPACE.sub(" ", piece).strip()
            if _is_prose(sentence):
                seen.setdefault(sentence)
        if len(seen) >= limit:
            return list(seen)[:limit]
    raise ValueError(f"the installed docstrings hold {len(seen)} sentences; ask for at most that many")


def checksum(sentences: list[str]) -> str:
    """First 16 hex digits of SHA-256 over the sentences, for a result file."""
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(sentence.encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def _is_prose(sentence: str) -> bool:
    if not (_MIN_CHARS <= len(sentence) <= _MAX_CHARS and sentence.isprintable()):
        return False
    letters = sum(character.isalpha() or character == " " for character in sentence)
    return letters >= _MIN_LETTER_SHARE * len(sentence)


def _docstrings() -> Iterator[str]:
    roots = [Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"])]
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            if root is roots[0] and "site-packages" in path.parts:
                continue
            yield from _of_file(path)


def _of_file(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return  # packages ship files that are broken on purpose; the corpus does without them
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
