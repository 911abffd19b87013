"""Which reader reads which file, and the one place where their failures become ours.

To add a format: write ``read_x(source) -> Iterator[Extraction]`` in a module
of this package and give it a line in ``_FORMATS``.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from indexing.errors import (
    DamagedFileError,
    EmptyFileError,
    MissingDependencyError,
    ReadError,
    UnsupportedFormatError,
    WinnowError,
)
from indexing.readers.source import Source

if TYPE_CHECKING:  # records imports numpy, which costs more than everything here
    from indexing.records import Extraction

logger = logging.getLogger(__name__)

Reader: TypeAlias = "Callable[[Source], Iterator[Extraction]]"


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of file is read; ``gzip``: also when wrapped in ``.gz``."""

    module: str
    function: str
    media_type: str
    gzip: bool = False

    def reader(self) -> Reader:
        """Import the reader; the libraries behind it load here and not before."""
        module = importlib.import_module(f"indexing.readers.{self.module}")
        reader: Reader = getattr(module, self.function)
        return reader


_MAX_TITLE_CHARS = 300

_TEXT = Format("text", "read_text", "text/plain", gzip=True)
_MARKDOWN = Format("text", "read_markdown", "text/markdown", gzip=True)
_CODE = Format("text", "read_code", "text/plain", gzip=True)
_HTML = Format("html", "read_html", "text/html", gzip=True)
_OFFICE = "application/vnd.openxmlformats-officedocument."
_CODE_SUFFIXES = [
    ".py",
    ".pyi",
    ".js",
    ".mjs",
    ".ts",
    ".tsx",
    ".jsx",
    ".java",
    ".kt",
    ".scala",
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
    ".cs",
    ".go",
    ".rs",
    ".rb",
    ".php",
    ".swift",
    ".lua",
    ".r",
    ".jl",
    ".sh",
    ".bash",
    ".ps1",
    ".sql",
    ".css",
    ".toml",
    ".yaml",
    ".yml",
    ".ini",
    ".cfg",
    ".conf",
    ".properties",
    ".xml",
]

_FORMATS: MappingProxyType[str, Format] = MappingProxyType(
    {
        ".txt": _TEXT,
        ".text": _TEXT,
        ".log": _TEXT,
        ".md": _MARKDOWN,
        ".markdown": _MARKDOWN,
        ".rst": Format("text", "read_rst", "text/x-rst", gzip=True),
        ".tex": Format("text", "read_tex", "text/x-tex", gzip=True),
        ".html": _HTML,
        ".htm": _HTML,
        ".xhtml": Format("html", "read_html", "application/xhtml+xml", gzip=True),
        ".pdf": Format("pdf", "read_pdf", "application/pdf"),
        ".docx": Format("word", "read_docx", _OFFICE + "wordprocessingml.document"),
        ".pptx": Format("slides", "read_pptx", _OFFICE + "presentationml.presentation"),
        ".xlsx": Format("sheets", "read_xlsx", _OFFICE + "spreadsheetml.sheet"),
        ".xlsm": Format("sheets", "read_xlsx", "application/vnd.ms-excel.sheet.macroEnabled.12"),
        ".csv": Format("tabular", "read_csv", "text/csv", gzip=True),
        ".tsv": Format("tabular", "read_csv", "text/tab-separated-values", gzip=True),
        ".json": Format("jsonfiles", "read_json", "application/json", gzip=True),
        ".jsonl": Format("jsonfiles", "read_jsonl", "application/x-ndjson", gzip=True),
        ".ndjson": Format("jsonfiles", "read_jsonl", "application/x-ndjson", gzip=True),
        ".epub": Format("epub", "read_epub", "application/epub+zip"),
        ".eml": Format("mail", "read_mail", "message/rfc822"),
        **dict.fromkeys(_CODE_SUFFIXES, _CODE),
    }
)


def supported_suffixes() -> frozenset[str]:
    """Return every suffix that can be read, lower case: ``.pdf``, ``.jsonl``, ``.jsonl.gz``."""
    zipped = (suffix + ".gz" for suffix, kind in _FORMATS.items() if kind.gzip)
    return frozenset(_FORMATS) | frozenset(zipped)


def suffix_of(path: Path) -> str:
    """Return the supported suffix of a file name, else "".

    >>> suffix_of(Path("corpus.JSONL.gz")), suffix_of(Path("a.v2.md")), suffix_of(Path("x.tar.gz"))
    ('.jsonl.gz', '.md', '')
    """
    suffixes = [part.lower() for part in path.suffixes[-2:]]
    for candidate in ("".join(suffixes), suffixes[-1] if suffixes else ""):
        if candidate in supported_suffixes():
            return candidate
    return ""


def media_type(path: Path) -> str:
    """Return the media type by suffix; that of what is inside for ``.gz``.

    An unsupported file is ``application/octet-stream``.
    """
    suffix = suffix_of(path)
    kind = _FORMATS.get(suffix.removesuffix(".gz"))
    return kind.media_type if kind is not None else "application/octet-stream"


def _bounded(extraction: Extraction) -> Extraction:
    """Titles are stored with every sentence: cut one that is a page long."""
    if len(extraction.title) <= _MAX_TITLE_CHARS:
        return extraction
    return replace(extraction, title=extraction.title[:_MAX_TITLE_CHARS].rstrip() + "…")


def read_file(path: Path, *, max_bytes: int) -> Iterator[Extraction]:
    """Yield the documents in one file: many for JSON records, else one.

    JSON lines stream: a line is yielded before the next is read, so an error
    can come after good items.

    Args:
        path: the file; its suffix chooses the reader.
        max_bytes: most bytes of content, after decompression.

    Raises:
        UnsupportedFormatError: no reader for the suffix.
        EncryptedFileError: a password is needed.
        EmptyFileError: nothing to index in it.
        DamagedFileError: the bytes are not what the suffix says.
        ReadError: it cannot be opened.
        ReadLimitError: it is larger than ``max_bytes``, or unfolds to far more.
        MissingDependencyError: the format's library is not installed.
    """
    suffix = suffix_of(path)
    if not suffix:
        raise UnsupportedFormatError(
            f"{path.name}: files of type {path.suffix.lower() or 'no suffix'!r} are not read; "
            f"accepted: {' '.join(sorted(_FORMATS))}, and text formats with .gz"
        )
    plain = suffix.removesuffix(".gz")
    kind = _FORMATS[plain]
    found = False
    try:
        for extraction in kind.reader()(Source(path, plain, max_bytes, suffix != plain)):
            if extraction.text.strip() or extraction.doc_id is not None:
                found = True
                yield _bounded(extraction)
    except WinnowError:
        raise
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or plain, "formats", f"reading {plain} files") from error
    except MemoryError:  # says nothing about the bytes: whoever set the limit names it
        raise
    except OSError as error:
        raise ReadError(f"{path.name} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # The parsers raise dozens of kinds (KeyError, struct.error, XMLSyntaxError,
        # PdfiumError, ...) on bytes they did not expect; one bad file must not end a run.
        logger.debug("%s: %s", path, error, exc_info=True)
        raise DamagedFileError(
            f"{path.name} cannot be read as {plain}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    if not found:
        raise EmptyFileError(f"{path.name} holds no text")
