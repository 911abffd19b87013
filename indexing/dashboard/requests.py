"""Questions about an index, each with the request to Qdrant's REST API that answers it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indexing.catalog.records import DocumentRecord
from indexing.collection.protocol import DENSE, SPARSE
from indexing.identity import point_id
from indexing.records import SparseVector

_MOST_SENTENCES = 200


@dataclass(frozen=True, slots=True)
class ConsoleRequest:
    """One question and its request; the path begins at the address of the API."""

    question: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    server_only: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """What the requests are filled in with.

    Attributes:
        ordinal: the sentence whose neighbours are asked for.
        word: a word that stands in it.
        terms: the word as the sparse encoder sees it; None where that is a model.
    """

    collection: str
    document: DocumentRecord
    ordinal: int
    word: str
    terms: SparseVector | None = None


def requests_about(subject: Subject, *, around: int = 2) -> list[ConsoleRequest]:
    """Return the requests, in the order of the questions of ``docs/dashboard.md``."""
    return [*_whole(subject), *_one_document(subject, around), *_words(subject), *_state(subject)]


def _whole(subject: Subject) -> list[ConsoleRequest]:
    base = f"collections/{subject.collection}"
    mine = {"must": [_is("tenant", subject.document.tenant)]}
    return [
        ConsoleRequest("What is indexed: counts, vectors, payload indexes", "GET", base),
        ConsoleRequest("How many points each tenant has", "POST", f"{base}/facet", {"key": "tenant"}),
        ConsoleRequest(
            "Which documents have the most sentences",
            "POST",
            f"{base}/facet",
            {"key": "doc_id", "limit": 20, "filter": mine},
        ),
        ConsoleRequest(
            "Any ten points, as a person reads them",
            "POST",
            f"{base}/points/scroll",
            {"limit": 10, "filter": mine, "with_payload": True},
        ),
    ]


def _one_document(subject: Subject, around: int) -> list[ConsoleRequest]:
    base, document = f"collections/{subject.collection}", subject.document
    first, last = max(0, subject.ordinal - around), min(document.sentences, subject.ordinal + around + 1)
    ids = [point_id(document.tenant, document.doc_id, document.version, at) for at in range(first, last)]
    own = point_id(document.tenant, document.doc_id, document.version, subject.ordinal)
    return [
        ConsoleRequest(
            f"The sentences of {document.title or document.doc_id}, in order",
            "POST",
            f"{base}/points/scroll",
            {
                "filter": {"must": [_is("tenant", document.tenant), _is("doc_id", document.doc_id)]},
                "order_by": "ordinal",
                "limit": min(_MOST_SENTENCES, max(1, document.sentences)),
                "with_payload": ["ordinal", "section", "page", "text"],
            },
        ),
        ConsoleRequest(
            f"One point with its vectors (sentence {subject.ordinal})", "GET", f"{base}/points/{own}"
        ),
        ConsoleRequest(
            "That point between its neighbours (their ids follow from tenant, document, version and ordinal)",
            "POST",
            f"{base}/points",
            {"ids": ids, "with_payload": ["ordinal", "text"]},
        ),
        ConsoleRequest(
            "Which points mean something similar",
            "POST",
            f"{base}/points/query",
            {
                "query": own,
                "using": DENSE,
                "limit": 5,
                "filter": {"must": [_is("tenant", document.tenant)]},
                "with_payload": ["doc_id", "section", "text"],
            },
        ),
    ]


def _words(subject: Subject) -> list[ConsoleRequest]:
    base, tenant = f"collections/{subject.collection}", subject.document.tenant
    found = [
        ConsoleRequest(
            f"Which points hold {subject.word!r}, letter by letter (reads every text)",
            "POST",
            f"{base}/points/scroll",
            {
                "filter": {
                    "must": [_is("tenant", tenant), {"key": "text", "match": {"text": subject.word}}],
                },
                "limit": 10,
                "with_payload": ["doc_id", "ordinal", "text"],
            },
        )
    ]
    if subject.terms is not None and subject.terms.indices:
        found.append(
            ConsoleRequest(
                f"Which points match {subject.word!r} by BM25, best first",
                "POST",
                f"{base}/points/query",
                {
                    "query": {"indices": list(subject.terms.indices), "values": list(subject.terms.values)},
                    "using": SPARSE,
                    "limit": 10,
                    "filter": {"must": [_is("tenant", tenant)]},
                    "with_payload": ["doc_id", "ordinal", "text"],
                },
            )
        )
    return found


def _state(subject: Subject) -> list[ConsoleRequest]:
    base = f"collections/{subject.collection}"
    mine = _is("tenant", subject.document.tenant)
    missing = [
        ConsoleRequest(
            f"How many points have no {name} vector ({why})",
            "POST",
            f"{base}/points/count",
            {"filter": {"must": [mine], "must_not": [{"has_vector": name}]}, "exact": True},
        )
        for name, why in ((DENSE, "a script its encoder does not know"), (SPARSE, "stop words only"))
    ]
    return [
        *missing,
        ConsoleRequest("What the optimizer is doing", "GET", f"{base}/optimizations", server_only=True),
        ConsoleRequest("Which snapshots there are", "GET", f"{base}/snapshots"),
        ConsoleRequest("Where the shards are", "GET", f"{base}/cluster"),
    ]


def _is(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "match": {"value": value}}


def console_text(request: ConsoleRequest) -> str:
    """Return the request as Qdrant's console takes it, its question as a comment."""
    lines = [f"// {request.question}", f"{request.method} {request.path}"]
    if request.body is not None:
        lines.append(json.dumps(request.body, ensure_ascii=False, indent=2))
    return "\n".join(lines)


def curl_text(request: ConsoleRequest, address: str) -> str:
    """Return the request as a shell command.

    Args:
        request: which one.
        address: of the API, without a slash at the end.
    """
    command = f"curl -s {address}/{request.path}"
    if request.method != "GET":
        body = json.dumps(request.body or {}, ensure_ascii=False).replace("'", "'\\''")
        command += f" -H 'content-type: application/json' -d '{body}'"
    return f"# {request.question}\n{command}"
