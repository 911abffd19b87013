"""From the store to a ``labels`` file, the same bytes for the same labels."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from distill.labelling.store import LabelStore, text_key
from distill.layouts import read_lines
from distill.records import CandidateList, LabelledList
from distill.teachers.protocol import TeacherCard
from indexing.errors import InputError

CARD_FIELD = "card"


def labelled_lists(lists: Sequence[CandidateList], store: LabelStore, teacher: int) -> Iterator[LabelledList]:
    """Yield the candidates that have labels, in the order given.

    A passage without a label is left out of its list, and a list without any
    is left out altogether.
    """
    card = store.card(teacher)
    for one in lists:
        if card.kind == "pointwise":
            known = store.scores(teacher, one.query.text)
        else:
            known = store.list_scores(teacher, one.query.text, _distinct(one)) or {}
        keys = [text_key(passage.text) for passage in one.passages]
        kept = [
            (passage, known[key]) for passage, key in zip(one.passages, keys, strict=True) if key in known
        ]
        if kept:
            passages, scores = zip(*kept, strict=True)
            yield LabelledList(one.query, passages, scores, card.id, card.scale)


def write_labels(
    path: Path, lists: Sequence[CandidateList], store: LabelStore, teacher: int
) -> tuple[int, int]:
    """Write the ``labels`` layout and return ``(lists, pairs)``; ``.gz`` compresses.

    The first row also carries the teacher's card (:func:`read_cards`), so files
    of several teachers may be joined with ``cat``; the card alone is written
    beside the file (:func:`card_path`).  A file appears whole or not at all.
    """
    written = pairs = 0

    def rows() -> Iterator[str]:
        nonlocal written, pairs
        card = store.card(teacher).model_dump(mode="json")
        for one in labelled_lists(lists, store, teacher):
            row: dict[str, object] = {
                "query_id": one.query.query_id,
                "query": one.query.text,
                "teacher": one.teacher,
                "scale": one.scale,
                "passages": [
                    {"doc_id": passage.doc_id, "text": passage.text, "score": score}
                    for passage, score in zip(one.passages, one.scores, strict=True)
                ],
            }
            if not written:
                row[CARD_FIELD] = card
            written += 1
            pairs += len(one.passages)
            yield json.dumps(row, ensure_ascii=False)

    write_lines(path, rows())
    card = store.card(teacher).model_dump_json(indent=2)
    write_lines(card_path(path), iter([card]))
    return written, pairs


def card_path(labels: Path) -> Path:
    """Return where the card of a ``labels`` file stands beside it.

    >>> card_path(Path("x/labels.jsonl.gz")).name
    'labels.teacher.json'
    """
    return labels.with_name(labels.name.partition(".")[0] + ".teacher.json")


def read_cards(path: Path) -> dict[str, TeacherCard]:
    """Return the teacher cards in a ``labels`` file, by teacher id.

    Raises:
        InputError: the file cannot be read, or a card is not one.
    """
    cards: dict[str, TeacherCard] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if f'"{CARD_FIELD}"' not in line:
            continue
        try:
            body = json.loads(line).get(CARD_FIELD)
            if body is not None:
                card = TeacherCard.model_validate(body)
                cards.setdefault(card.id, card)
        except (ValidationError, ValueError, AttributeError) as error:
            raise InputError(f"{path}, line {number}: the teacher's card is not valid: {error}") from error
    return cards


def write_lines(path: Path, lines: Iterator[str]) -> None:
    """Write lines to ``path`` through a temporary file; equal lines give equal bytes, compressed too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as raw:
            if path.suffix == ".gz":
                # No name and no time in the header.
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                    _write(packed, lines)
            else:
                _write(raw, lines)
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: io.BufferedIOBase, lines: Iterator[str]) -> None:
    for line in lines:
        file.write(line.encode("utf-8") + b"\n")


def _distinct(one: CandidateList) -> list[str]:
    return list(dict.fromkeys(passage.text for passage in one.passages))
