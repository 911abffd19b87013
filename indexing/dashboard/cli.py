"""The command ``dashboard``: print requests for Qdrant's console."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.errors import InputError

if TYPE_CHECKING:
    from indexing.catalog.records import DocumentRecord
    from indexing.dashboard.requests import ConsoleRequest, Subject
    from indexing.session import Index
    from indexing.settings import Settings

_LOOKED_AT = 100
_GOOD_SENTENCES = 3


def dashboard(
    home: Annotated[
        Path | None, typer.Option(help="Index folder (default: WINNOW_HOME, else .winnow).")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose documents.")] = "default",
    doc: Annotated[str | None, typer.Option(help="Document to ask about (default: an early one).")] = None,
    word: Annotated[str | None, typer.Option(help="Word to look for (default: one of the document).")] = None,
    curl: Annotated[bool, typer.Option("--curl", help="Print shell commands instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Print requests for Qdrant's console or curl, filled in with this index' own documents."""
    from indexing.dashboard.requests import console_text, curl_text, requests_about
    from indexing.display import write, write_json
    from indexing.session import Index
    from indexing.transfer.home import existing_home

    settings = existing_home(home)
    with Index.open(settings, with_encoders=False) as index:
        asked = requests_about(_subject(index, _document(index, tenant, doc), word))
    served = [one for one in asked if settings.collection.home == "server" or not one.server_only]
    if as_json:
        write_json([_json(one) for one in served])
        return 0
    address = api_address(settings)
    if not curl:
        write(f"// For the console of the dashboard at {address}/dashboard#/console")
    for one in served:
        write()
        write(curl_text(one, address) if curl else console_text(one))
    return 0


def _json(request: ConsoleRequest) -> dict[str, object]:
    return {name: value for name, value in asdict(request).items() if name != "server_only"}


def api_address(settings: Settings) -> str:
    """Return where Qdrant's API is: the server's own, or the service's read-only one."""
    if settings.collection.home == "server":
        return settings.collection.url.rstrip("/")
    host = f"[{settings.serving.host}]" if ":" in settings.serving.host else settings.serving.host
    return f"http://{host}:{settings.serving.port}/qdrant"


def _document(index: Index, tenant: str, doc: str | None) -> DocumentRecord:
    """The document that is asked for, else the first with sentences on both sides of one."""
    if doc is not None:
        return index.catalog.document(tenant, doc)
    found = index.catalog.documents(tenant, limit=_LOOKED_AT)
    if not found:
        raise InputError(f"nothing is indexed for the tenant {tenant!r}; run: python -m indexing PATH")
    return next((one for one in found if one.sentences >= _GOOD_SENTENCES), found[0])


def _subject(index: Index, document: DocumentRecord, word: str | None) -> Subject:
    from indexing.dashboard.requests import Subject

    sentences = index.catalog.sentences(document.tenant, document.doc_id)
    middle = len(sentences) // 2
    chosen = word or _longest_word(sentences[middle].text if sentences else document.title)
    encoders = index.settings.encoders
    terms = None
    if encoders.sparse == "bm25":
        from indexing.encoders.bm25 import Bm25Encoder

        # Only the word's dimension is asked for: it needs no model and no average length.
        encoder = Bm25Encoder(k1=encoders.bm25_k1, b=encoders.bm25_b, stem=encoders.bm25_stem)
        (terms,) = encoder.encode_queries([chosen])
    return Subject(index.settings.collection.name, document, middle, chosen, terms)


def _longest_word(text: str) -> str:
    """The longest word is seldom a common one; the first of equals."""
    from indexing.encoders.analysis import STOP_WORDS, words_of

    words = [one for one in words_of(text) if one not in STOP_WORDS and one in text]
    return max(words, key=len, default="the")
