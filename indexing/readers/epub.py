"""EPUB: the chapters of the spine in order, each through the HTML reader."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from indexing.errors import DamagedFileError, EncryptedFileError
from indexing.readers.builder import one_line
from indexing.readers.html import append_html, parse_html
from indexing.readers.metadata import scalars
from indexing.readers.source import Source
from indexing.readers.zips import open_zip
from indexing.records import Extraction

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_DC = "{http://purl.org/dc/elements/1.1/}"
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_FIELDS = ("creator", "language", "publisher", "date", "subject")
# Obfuscated fonts are listed as encrypted too; they are no obstacle.
_FONT_METHODS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read_epub(source: Source) -> Iterator[Extraction]:
    """Yield the book; title, author, language and so on from its package file.

    Raises:
        DamagedFileError: not an EPUB, or a chapter of the spine is missing.
        EncryptedFileError: the chapters are under DRM.
    """
    with open_zip(source, doctype_allowed=True) as archive:
        _refuse_encrypted(archive, source.name)
        container = _xml(archive, _CONTAINER, source.name)
        root_file = next((node.get("full-path") for node in container.iter("{*}rootfile")), None)
        if not root_file:
            raise DamagedFileError(f"{source.name} is not an EPUB: {_CONTAINER} names no package file")
        package = _xml(archive, root_file, source.name)
        builder = source.builder()
        for path in _spine(package, posixpath.dirname(root_file), source.name):
            append_html(builder, parse_html(_member(archive, path, source.name), f"{source.name}:{path}"))
    fields = {name: [one_line(node.text or "") for node in package.iter(_DC + name)] for name in _FIELDS}
    title = next((node.text for node in package.iter(_DC + "title") if node.text), "")
    yield builder.build(title=title, metadata=scalars(fields))


def _spine(package: Element, folder: str, name: str) -> Iterator[str]:
    items = {node.get("id"): node for node in package.iter("{*}item")}
    for reference in package.iter("{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or not item.get("href"):
            raise DamagedFileError(f"{name}: the spine names {reference.get('idref')!r}, which is not listed")
        if item.get("media-type") in _PAGES:
            href = unquote((item.get("href") or "").split("#")[0])
            yield posixpath.normpath(posixpath.join(folder, href))


def _refuse_encrypted(archive: zipfile.ZipFile, name: str) -> None:
    if _ENCRYPTION not in archive.namelist():
        return
    for method in _xml(archive, _ENCRYPTION, name).iter("{*}EncryptionMethod"):
        if method.get("Algorithm") not in _FONT_METHODS:
            raise EncryptedFileError(f"{name} is protected (DRM); its chapters cannot be read")


def _member(archive: zipfile.ZipFile, path: str, name: str) -> bytes:
    try:
        return archive.read(path)
    except KeyError as error:
        raise DamagedFileError(f"{name} is not a whole EPUB: {path} is missing") from error


def _xml(archive: zipfile.ZipFile, path: str, name: str) -> Element:
    from lxml import etree

    data = _member(archive, path, name)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DamagedFileError(f"{name}: {path} is not XML: {error}") from error
