"""A small honest file of each format: what the attacks are made from."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from functools import cache

from benchmarks.hostile_files.pdfs import page

TEXT = "The Danube rises in the Black Forest. It ends in the Black Sea.\n"


def pack(members: Mapping[str, str | bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip with these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), body, compression)
    return stream.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


@cache
def docx() -> bytes:
    import docx as library

    document = library.Document()
    document.add_heading("Rivers", 1)
    document.add_paragraph(TEXT)
    return saved(document.save)


@cache
def pptx() -> bytes:
    import pptx as library

    deck = library.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Rivers"
    slide.placeholders[1].text = TEXT
    return saved(deck.save)


@cache
def xlsx() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["River", "Length"])
    book.active.append(["Danube", 2850])
    return saved(book.save)


CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="book.opf"/></rootfiles></container>'
)
CHAPTER = f"<html><body><h1>Rivers</h1><p>{TEXT}</p></body></html>"


def opf(items: str, spine: str, head: str = "") -> str:
    return (
        f'{head}<package xmlns="http://www.idpf.org/2007/opf"><metadata/>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )


def epub(chapters: Mapping[str, str | bytes] | None = None, **extra: str | bytes) -> bytes:
    """A book of these chapters, and ``extra`` members by name."""
    pages = {"a.xhtml": CHAPTER} if chapters is None else chapters
    items = "".join(f'<item id="{name}" href="{name}" media-type="text/html"/>' for name in pages)
    spine = "".join(f'<itemref idref="{name}"/>' for name in pages)
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "book.opf": opf(items, spine),
        **pages,
    }
    parts.update(extra)
    return pack(parts)


def eml(body: str = TEXT, head: str = "") -> bytes:
    return f"From: a@example.org\nTo: b@example.org\nSubject: Rivers\n{head}\n{body}".encode()


MULTIPART = (
    'From: a@example.org\nSubject: Rivers\nContent-Type: multipart/mixed; boundary="b"\n\n'
    f"--b\nContent-Type: text/plain\n\n{TEXT}\n--b--\n"
).encode()


def honest() -> dict[str, bytes]:
    """An honest file by suffix."""
    return {
        "txt": (TEXT * 3).encode(),
        "md": f"# Rivers\n\n{TEXT}".encode(),
        "rst": f"Rivers\n======\n\n{TEXT}".encode(),
        "tex": f"\\section{{Rivers}}\n{TEXT}".encode(),
        "py": b'def rivers():\n    """Return what flows."""\n    return ["Danube"]\n',
        "html": CHAPTER.encode(),
        "xhtml": CHAPTER.encode(),
        "pdf": page(),
        "docx": docx(),
        "pptx": pptx(),
        "xlsx": xlsx(),
        "csv": b'river,note\nDanube,"long, and blue"\n',
        "json": b'[{"text": "The Danube rises in the Black Forest."}]',
        "jsonl": b'{"_id": "a", "text": "The Danube rises."}\n{"_id": "b", "text": "It ends."}\n',
        "epub": epub(),
        "eml": MULTIPART,
        "txt.gz": gzip.compress((TEXT * 3).encode(), mtime=0),
    }
