"""JSON and JSON lines: records are documents, anything else becomes lines with their key path."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any

from indexing.errors import DamagedFileError
from indexing.readers.builder import TextBuilder, clean, one_line
from indexing.readers.encodings import decode
from indexing.readers.metadata import scalar, scalars
from indexing.readers.source import Source
from indexing.readers.tables import row_line
from indexing.records import Extraction

_OWN_FIELDS = frozenset({"_id", "doc_id", "title", "text", "metadata"})
# A string longer than this is prose that sentences are cut from, not a field.
_PROSE_CHARS = 200
_MAX_LINE_BYTES = 64 << 20


def read_jsonl(source: Source) -> Iterator[Extraction]:
    """Yield one document per line as the file streams by.

    A line is ``{"_id", "title", "text", ...}`` (the BEIR layout); ``text`` is
    needed, the rest is not.  Blank lines are passed over.

    Raises:
        DamagedFileError: names the line that is not such an object.  Lines
            before it have been yielded.
    """
    with source.open() as stream:
        for number, line in enumerate(iter(lambda: stream.readline(_MAX_LINE_BYTES + 1), b""), start=1):
            where = f"{source.name}, line {number}"
            if len(line) > _MAX_LINE_BYTES:
                raise DamagedFileError(f"{where}: longer than {_MAX_LINE_BYTES >> 20} MB")
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield _line_record(line, where)


def read_json(source: Source) -> Iterator[Extraction]:
    """Yield a JSON file: its records as documents, or one document of key-path lines.

    An array whose items all have a string ``text`` holds records, and so does
    a single such object.  Otherwise every value stands on a line with its
    path (``server.ports[0]: 80``), an array of flat objects is a table, and
    long strings are paragraphs.
    """
    text = decode(source.read(), source.name)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{source.name} is not JSON: {error}") from error
    items = value if isinstance(value, list) else [value]
    if items and all(_is_record(item) for item in items):
        for index, item in enumerate(items):
            yield record(item, f"{source.name}, item {index}")
        return
    builder = source.builder()
    _write_tree(builder, value)
    yield builder.build()


def record(fields: Mapping[str, object], where: str) -> Extraction:
    """Return the document in ``{"_id", "title", "text", "metadata", ...}``.

    Other fields that are scalars (or lists of them) become metadata, under a
    nested ``metadata`` object's own.  A record with a title alone has it as text.

    Raises:
        DamagedFileError: ``text`` is missing or not a string, or the id is
            empty or not a string or number; the message begins with ``where``.
    """
    text = fields.get("text")
    if not isinstance(text, str):
        raise DamagedFileError(f'{where}: a document needs "text" as a string; it has {_names(fields)}')
    own = fields.get("_id", fields.get("doc_id"))
    doc_id = None if own is None else one_line(clean(str(own)))
    if doc_id == "" or isinstance(own, bool | list | dict):
        raise DamagedFileError(f'{where}: "_id" must be a string that is not empty, or a number')
    nested = fields.get("metadata")
    metadata = scalars({key: value for key, value in fields.items() if key not in _OWN_FIELDS})
    if isinstance(nested, Mapping):
        metadata |= scalars(nested)
    title = one_line(clean(str(scalar(fields.get("title")) or "")))
    return Extraction(clean(text) if text.strip() else title, title, doc_id, metadata=metadata)


def _line_record(line: bytes, where: str) -> Extraction:
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{where}: not JSON in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{where}: a JSON object is needed, not {type(value).__name__}")
    return record(value, where)


def _is_record(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("text"), str)


def _names(fields: Mapping[str, object]) -> str:
    return ", ".join(repr(key) for key in list(fields)[:10]) or "no fields"


def _write_tree(builder: TextBuilder, root: Any) -> None:
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{path}.{key}" if path else str(key), value[key]) for key in reversed(value))
        elif isinstance(value, list) and value and all(_is_flat(item) for item in value):
            _write_records(builder, path, value)
        elif isinstance(value, list):
            stack.extend((f"{path}[{index}]", value[index]) for index in reversed(range(len(value))))
        elif value is not None:
            _write_leaf(builder, path, value)


def _is_flat(item: object) -> bool:
    return isinstance(item, dict) and not any(
        isinstance(value, dict | list) or (isinstance(value, str) and len(value) > _PROSE_CHARS)
        for value in item.values()
    )


def _write_records(builder: TextBuilder, path: str, rows: list[dict[str, object]]) -> None:
    if path:
        builder.paragraph(f"{path}:")
    for row in rows:
        builder.row(row_line([_shown(value) for value in row.values()], [str(key) for key in row]))
    builder.end_rows()


def _write_leaf(builder: TextBuilder, path: str, value: object) -> None:
    shown = _shown(value)
    line = f"{path}: {shown}" if path else shown
    if len(shown) > _PROSE_CHARS or "\n" in shown:
        builder.paragraph(line)
    else:
        builder.row(line)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
