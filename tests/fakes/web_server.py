"""A small web server on a free port of this machine, and name servers that say what a test wants."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = tuple[int, Mapping[str, str], bytes]
PAGE = b"<html><head><title>Rivers</title></head><body><p>The Danube rises here.</p></body></html>"


class WebServer:
    """Answers from ``pages`` by path; ``asked`` are the (host, path) pairs that reached it."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.pages: dict[str, Answer] = {"/page": (200, {"content-type": "text/html"}, PAGE)}
        self.asked: list[tuple[str, str]] = []
        self.drip_s: float | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.headers.get("host", ""), self.path))
                status, headers, body = server.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    server.send(self.wfile.write, body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def send(self, write: Callable[[bytes], object], body: bytes) -> None:
        if self.drip_s is None:
            write(body)
            return
        for place in range(len(body)):
            write(body[place : place + 1])
            time.sleep(self.drip_s)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def web_server(certificate: tuple[Path, Path] | None = None) -> Iterator[WebServer]:
    server = WebServer(certificate)
    try:
        yield server
    finally:
        server.close()


class NameServer:
    """Resolves names from a table; a list of lists answers each question with the next one."""

    def __init__(self, **names: list[str] | list[list[str]]) -> None:
        self._names = {name.replace("__", "."): list(found) for name, found in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        found = self._names.get(host)
        if found is None:
            raise OSError("no such name")
        if found and isinstance(found[0], list):
            return found.pop(0) if len(found) > 1 else found[0]  # type: ignore[return-value]
        return found  # type: ignore[return-value]


def certificate_for(name: str, folder: Path) -> tuple[Path, Path]:
    """A certificate of ``name`` that signs itself, and its key, as files."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / f"{name}.pem", folder / f"{name}.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private
