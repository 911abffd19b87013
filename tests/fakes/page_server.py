"""A small stand-in for the service, to develop and test the page against.

It answers the HTTP interface of ``serving.schemas`` over a handful of English
and Chinese documents kept in memory.

Run it by hand with ``python -m tests.fakes.page_server 8001``.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.page_documents import Block, blocks
from tests.fakes.page_inspect import inspect
from tests.fakes.page_search import WINDOW, Document, Search, answer, document

PAGE = Path(__file__).resolve().parents[2] / "serving" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass
class Fault:
    """An answer to give instead, to the next request of this kind."""

    method: str
    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    detail: str = "made to fail"


@dataclass
class State:
    documents: dict[str, Document]
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    delay_s: float = 0.0
    closed: bool = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *_: object) -> None:
        return

    def send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        extra = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        for name, value in {**extra, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, value: object, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode(), "application/json")

    def problem(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"type": "about:blank", "title": "Problem", "status": status, "detail": detail})
        self.send(status, body.encode(), "application/problem+json", headers)

    def handle_request(self, method: str) -> None:
        if self.state.closed:  # a connection kept alive outlives the listening socket
            self.close_connection = True
            return None
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.calls.append((method, self.path, body))
        for fault in self.state.faults:
            if fault.method == method and address.path.startswith(fault.path):
                self.state.faults.remove(fault)
                return self.problem(fault.status, fault.detail, fault.headers)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        parts = [unquote(part) for part in address.path.split("/") if part]
        if parts[:1] != ["v1"]:
            return self.page(address.path)
        if method == "POST" and parts[1:] in (["query"], ["search"]):
            time.sleep(self.state.delay_s)
            found = Search(self.state.documents, json.loads(body), self.state.degraded).run()
            return self.json(answer(found) if parts[1] == "query" else found)
        if parts[1:] == ["collection"]:
            time.sleep(self.state.delay_s)
            return self.json(self.collection())
        if parts[1] == "jobs":
            return self.jobs(parts[2:])
        if parts[1] == "inspect":
            found = inspect(self.state.documents, parts[2:], query)
            return self.problem(404, "no such point") if found is None else self.json(found)
        if parts[1:] == ["documents"]:
            return self.upload(body) if method == "POST" else self.documents(query)
        return self.one_document(method, parts[2:], query)

    def do_GET(self) -> None:
        self.handle_request("GET")

    def do_POST(self) -> None:
        self.handle_request("POST")

    def do_DELETE(self) -> None:
        self.handle_request("DELETE")

    def page(self, path: str) -> None:
        name = "index.html" if path == "/" else path.removeprefix("/static/")
        file = (PAGE / name).resolve()
        if PAGE not in file.parents or not file.is_file():
            return self.problem(404, "no such page")
        self.send(200, file.read_bytes(), TYPES[file.suffix], {"Cache-Control": "no-cache"})

    def collection(self) -> dict[str, object]:
        documents = list(self.state.documents.values())
        points = sum(len(item.sentences) for item in documents)
        sections = Counter(sentence[2] for item in documents for sentence in item.sentences if sentence[2])
        sources = Counter({item.sources[0]: len(item.sentences) for item in documents})
        facets = {"sections": sections, "sources": sources}
        return {
            "home": "embedded",
            "documents": len(documents),
            "points": points,
            "indexed_points": points * 3 // 4,
            "disk_bytes": points * 2100,
            "optimizing": False,
            "encoders": {"dense": "all-MiniLM-L6-v2", "sparse": "bm25", "dimensions": 384, "reranker": None},
            "defaults": {"mode": "hybrid", "fusion": "rrf", "top_k": 50, "top_n": 8, "window_size": WINDOW},
            **{
                name: [{"value": value, "count": count} for value, count in counts.most_common()]
                for name, counts in facets.items()
            },
        }

    def documents(self, query: dict[str, str]) -> None:
        ids = sorted(key for key in self.state.documents if key > query.get("after", ""))
        limit = int(query.get("limit", "100"))
        rows = [self.state.documents[key].row() for key in ids[:limit]]
        following = ids[limit - 1] if len(ids) > limit else None
        self.json({"documents": rows, "next": following, "total": len(self.state.documents)})

    def one_document(self, method: str, parts: list[str], query: dict[str, str]) -> None:
        item = self.state.documents.get(parts[0])
        if item is None:
            return self.problem(404, f"no document {parts[0]!r}")
        if method == "DELETE":
            del self.state.documents[item.doc_id]
            return self.json({"doc_id": item.doc_id, "deleted": True, "job_id": None})
        if parts[1:] == ["text"]:
            start, end = int(query.get("start", 0)), int(query.get("end", len(item.text)))
            return self.send(200, item.text[start:end].encode(), "text/plain")
        if parts[1:] == ["sentences"]:
            first, limit = int(query.get("first", 0)), int(query.get("limit", 100))
            names = ("start", "end", "section", "page")
            rows = [
                {"ordinal": ordinal, **dict(zip(names, item.sentences[ordinal], strict=True))}
                for ordinal in range(first, min(first + limit, len(item.sentences)))
            ]
            following = first + limit if first + limit < len(item.sentences) else None
            total = len(item.sentences)
            return self.json({"doc_id": item.doc_id, "total": total, "sentences": rows, "next": following})
        self.json(item.row())

    def upload(self, body: bytes) -> None:
        boundary = self.headers["Content-Type"].split("boundary=")[1].encode()
        files = []
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, data = part.partition(b"\r\n\r\n")
            name = re.search(r'filename="(.*)"', head.decode())
            files.append((name[1] if name else "?", data.removesuffix(b"\r\n")))
        job_id = f"job-{len(self.state.jobs) + 1}"
        self.state.jobs[job_id] = {
            "id": job_id,
            "kind": "upload",
            "state": "queued",
            "total": len(files),
            "done": 0,
            "failed": 0,
            "sentences": 0,
            "errors": [],
            "created_at": "2024-05-06T07:08:09Z",
            "updated_at": "2024-05-06T07:08:09Z",
            "message": "",
            "files": files,
        }
        self.json({"job_id": job_id}, 202)

    def jobs(self, parts: list[str]) -> None:
        for job in self.state.jobs.values():
            self.advance(job)
        shown = {
            name: {key: value for key, value in job.items() if key != "files"}
            for name, job in self.state.jobs.items()
        }
        self.json(shown[parts[0]] if parts else {"jobs": list(shown.values())[::-1]})

    def advance(self, job: dict[str, Any]) -> None:
        """One file further per question about the jobs."""
        if job["files"]:
            job["state"] = "running"
            name, data = job["files"].pop(0)
            job["done"] += 1
            if name.endswith(".bad"):
                job["failed"] += 1
                job["errors"].append({"source": name, "reason": "the bytes are not what the suffix says"})
            else:
                text = data.decode("utf-8")
                added = document(name, name, f"upload://{name}", "text/plain", [Block("", None, text)])
                self.state.documents[name] = added
                job["sentences"] += len(added.sentences)
        elif job["state"] == "running":
            job["state"] = "partial" if job["failed"] else "succeeded"


class PageServer:
    """The fake on a free port; ``state`` can be read and changed by a test."""

    def __init__(self, port: int = 0) -> None:
        made = [document(*arguments) for arguments in blocks()]
        self.state = State({item.doc_id: item for item in made})
        handler = type("BoundHandler", (Handler,), {"state": self.state})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self.state.closed = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


if __name__ == "__main__":
    running = PageServer(int(sys.argv[1]) if len(sys.argv) > 1 else 8001)
    sys.stderr.write(f"{running.url}\n")
    threading.Event().wait()
