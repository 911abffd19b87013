"""Documents by URL: allowed hosts and public addresses only, at every hop, connected to as checked."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterator

import pytest

from indexing.errors import FetchError, FetchRefusedError
from indexing.fetch.addresses import check_address, networks
from indexing.fetch.client import Fetched, fetch
from indexing.fetch.kinds import suffix_for
from indexing.fetch.policy import check_url
from indexing.fetch.settings import FetchSettings
from indexing.ingest import add_urls
from tests.fakes.index_parts import fake_index, fake_settings
from tests.fakes.web_server import PAGE, NameServer, WebServer, certificate_for, web_server

LOCAL = ("127.0.0.0/8",)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def settings(web: WebServer, **changes: object) -> FetchSettings:
    """Allow docs.test on the local server, whose own address an operator has named."""
    fields: dict[str, object] = {
        "allowed_hosts": (f"docs.test:{web.port}", f"other.test:{web.port}"),
        "private_networks": LOCAL,
        "plain_http": True,
        "timeout_s": 10.0,
    }
    return FetchSettings.model_validate(fields | changes)


def get(web: WebServer, path: str = "/page", names: NameServer | None = None, **changes: object) -> Fetched:
    url = path if path.startswith("http") else f"http://docs.test:{web.port}{path}"
    resolve = names or NameServer(docs__test=["127.0.0.1"], other__test=["127.0.0.1"])
    return asyncio.run(fetch(url, settings(web, **changes), resolve=resolve))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # carrier-grade NAT
        "169.254.1.1",
        "169.254.169.254",  # metadata
        "100.100.100.200",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",  # IPv4-mapped
        "::ffff:8.8.8.8",
        "::127.0.0.1",  # IPv4-compatible
        "::ffff:0:127.0.0.1",  # SIIT
        "64:ff9b::127.0.0.1",  # NAT64
        "64:ff9b::169.254.169.254",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::a00:1",  # local-use NAT64
        "2002:7f00:1::",  # 6to4
        "2002:a00:1::1",
        "2001:0:7f00:1::",  # Teredo
        "2a00:1450::5efe:7f00:1",  # ISATAP
        "not-an-address",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(FetchRefusedError):
        check_address(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001:82a::200e"]
)
def test_public_addresses_are_reached(address: str) -> None:
    assert str(check_address(address)) == address


def test_a_named_network_is_reached_and_nothing_around_it() -> None:
    private = networks(["10.1.0.0/16", "64:ff9b::/96", "169.254.0.0/16", "fd00::/8"])
    check_address("10.1.2.3", private)
    check_address("64:ff9b::8.8.8.8", private)  # a DNS64 network: what is inside must be public too
    for refused in (
        "10.2.0.1",
        "64:ff9b::10.2.0.1",
        "169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254",
    ):
        with pytest.raises(FetchRefusedError):
            check_address(refused, private)


@pytest.mark.parametrize(
    "url",
    [
        "http://docs.test/page",  # plain, which is off
        "ftp://docs.test/page",
        "file:///etc/passwd",
        "gopher://docs.test/",
        "//docs.test/page",
        "docs.test/page",
        "https://",
        "https:///page",
        "https://user@docs.test/",
        "https://user:secret@docs.test/",
        "https://docs.test@evil.test/",
        "https://evil.test/",
        "https://docs.test.evil.test/",
        "https://evildocs.test/",
        "https://sub.docs.test/",
        "https://wild.test/",  # the pattern is for names below it
        "https://docs.test:8443/",
        "https://docs.test:22/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://docs.test\\@evil.test/",
        "https://docs.test /",
        "https://docs.test/\r\nHost: evil.test",
        "https://docs.test/" + "a" * 3000,
        "https://docs。test。evil.test/",
    ],
)
def test_urls_that_are_not_allowed(url: str) -> None:
    allowed = FetchSettings(allowed_hosts=("docs.test", "*.wild.test", "ported.test:8443"))
    with pytest.raises(FetchRefusedError):
        check_url(url, allowed)


def test_urls_that_are_allowed() -> None:
    allowed = FetchSettings(allowed_hosts=("Docs.test", "*.wild.test", "ported.test:8443"))
    for url in (
        "https://docs.test/a#b",
        "https://DOCS.TEST./",
        "https://a.b.wild.test/",
        "https://ported.test:8443/",
    ):
        assert check_url(url, allowed).url.scheme == "https"
    with pytest.raises(FetchRefusedError, match=r"fetch\.allowed_hosts"):
        check_url("https://docs.test/", FetchSettings())


def test_settings_refuse_what_is_no_host_or_network() -> None:
    for fields in ({"allowed_hosts": ["https://docs.test/"]}, {"private_networks": ["10.0.0.0/33"]}):
        with pytest.raises(ValueError, match=r"no host name|IPv4Network|IPv6Network|IPv4 or IPv6"):
            FetchSettings.model_validate(fields)


def test_a_page_comes_under_its_own_name(web: WebServer) -> None:
    found = get(web)
    assert (found.name, found.data) == ("page.html", PAGE)
    assert web.asked == [(f"docs.test:{web.port}", "/page")], "the server sees the name, not the address"


def test_a_name_that_changes_its_address_is_asked_once(web: WebServer) -> None:
    """DNS rebinding: the first answer is allowed, the second one is not."""
    names = NameServer(docs__test=[["127.0.0.1"], ["10.0.0.1"]])
    assert get(web, names=names).data == PAGE
    assert names.asked == ["docs.test"]
    # The other way round: what is refused is not asked again until it is allowed.
    names = NameServer(docs__test=[["10.0.0.1"], ["127.0.0.1"]])
    with pytest.raises(FetchRefusedError, match=r"10\.0\.0\.1"):
        get(web, names=names)
    assert len(web.asked) == 1


def test_one_refused_address_among_several_refuses_the_name(web: WebServer) -> None:
    with pytest.raises(FetchRefusedError, match="metadata"):
        get(web, names=NameServer(docs__test=["127.0.0.1", "169.254.169.254"]))
    assert web.asked == []


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "allowed_hosts"),
        ("http://inside.test/", "allowed_hosts"),
        ("file:///etc/passwd", "not fetched"),
        ("http://user:secret@docs.test/", "password"),
        ("//169.254.169.254/", "allowed_hosts"),
        ("http://other.test:{port}/page", "10.0.0.1"),
    ],
)
def test_a_redirect_is_checked_like_the_first_url(web: WebServer, target: str, reason: str) -> None:
    web.pages["/away"] = (302, {"location": target.format(port=web.port)}, b"")
    names = NameServer(docs__test=["127.0.0.1"], other__test=["10.0.0.1"])
    with pytest.raises(FetchRefusedError, match=reason):
        get(web, "/away", names=names)
    assert [path for _, path in web.asked] == ["/away"]


def test_redirects_are_followed_resolved_anew_and_counted(web: WebServer) -> None:
    web.pages["/a"] = (301, {"location": "/b"}, b"")
    web.pages["/b"] = (307, {"location": f"http://other.test:{web.port}/page"}, b"")
    names = NameServer(docs__test=["127.0.0.1"], other__test=["127.0.0.1"])
    assert get(web, "/a", names=names).data == PAGE
    assert names.asked == ["docs.test", "docs.test", "other.test"]
    web.pages["/loop"] = (302, {"location": "/loop"}, b"")
    with pytest.raises(FetchError, match="redirects more than 5 times"):
        get(web, "/loop")
    web.pages["/nowhere"] = (302, {}, b"")
    with pytest.raises(FetchError, match="without saying where"):
        get(web, "/nowhere")


def test_what_is_too_large_packed_late_or_unreadable_is_an_error(web: WebServer) -> None:
    html = {"content-type": "text/html"}
    web.pages["/says"] = (200, {**html, "content-length": "99000000"}, b"x")
    web.pages["/sends"] = (200, html, b"x" * 1_200_000)
    web.pages["/packed"] = (200, {**html, "content-encoding": "gzip"}, gzip.compress(PAGE))
    web.pages["/film"] = (200, {"content-type": "video/mp4"}, b"x")
    web.pages["/bytes"] = (200, {}, b"x")
    for path, reason in {
        "/says": "more than 1 MB",
        "/sends": "more than 1 MB",
        "/packed": "compressed",
        "/film": "video/mp4",
        "/bytes": "unknown",
        "/gone": "answered 404",
    }.items():
        with pytest.raises(FetchError, match=reason):
            get(web, path, max_mb=1)


def test_a_server_that_drips_is_left_in_time(web: WebServer) -> None:
    web.drip_s = 0.2
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"within 1 s"):
        get(web, timeout_s=1.0)
    assert time.monotonic() - began < 15, "85 bytes at 0.2 s take 17 s"


def test_names_without_an_address_and_closed_ports_are_errors(web: WebServer) -> None:
    with pytest.raises(FetchError, match="no such name"):
        get(web, names=NameServer())
    with pytest.raises(FetchError, match="no address"):
        get(web, names=NameServer(docs__test=[]))
    port = web.port
    web.close()
    with pytest.raises(FetchError, match=str(port)):
        get(web)


def test_tls_checks_the_name_and_not_the_address(tmp_path) -> None:
    certificate = certificate_for("docs.test", tmp_path)
    with web_server(certificate) as web:
        changes = {"plain_http": False, "ca_file": certificate[0]}
        url = f"https://docs.test:{web.port}/page"
        assert get(web, url, **changes).data == PAGE
        with pytest.raises(FetchError, match="certificate"):
            get(web, f"https://other.test:{web.port}/page", **changes)
        with pytest.raises(FetchError, match="certificate"):
            get(web, url, plain_http=False)  # signed by nobody the system knows
        web.pages["/down"] = (302, {"location": f"http://docs.test:{web.port}/page"}, b"")
        with pytest.raises(FetchRefusedError, match="https to http"):
            get(web, f"https://docs.test:{web.port}/down", **{**changes, "plain_http": True})


def test_a_proxy_of_the_environment_is_not_asked(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(web).data == PAGE


@pytest.mark.parametrize(
    ("content_type", "path", "suffix"),
    [
        ("text/html; charset=utf-8", "/a/b.php", ".html"),
        ("application/pdf", "/", ".pdf"),
        ("text/plain", "/notes.md", ".md"),
        ("text/plain", "/a.pdf", ".txt"),
        ("application/octet-stream", "/corpus.jsonl.gz", ".jsonl.gz"),
        ("application/gzip", "/corpus.jsonl.gz", ".jsonl.gz"),
        ("", "/report.DOCX", ".docx"),
        ("application/json", "/v1/all", ".json"),
        ("application/xml", "/feed", ".xml"),
    ],
)
def test_the_content_type_decides_the_reader(content_type: str, path: str, suffix: str) -> None:
    assert suffix_for(content_type, path) == suffix


def test_urls_are_indexed_and_failures_reported(web: WebServer, tmp_path) -> None:
    base = f"http://docs.test:{web.port}"
    web.pages["/bad.pdf"] = (200, {"content-type": "application/pdf"}, b"nothing")
    web.pages["/../../slip"] = (200, {"content-type": "text/plain"}, b"Slipped.")
    made = fake_settings(tmp_path / "home").model_copy(update={"fetch": settings(web)})
    urls = [f"{base}/page", f"{base}/bad.pdf", f"{base}/gone", "https://evil.test/", f"{base}/page"]
    with fake_index(made) as index:
        names = NameServer(docs__test=["127.0.0.1"])
        report = add_urls(index, urls, resolve=names)
        assert report.documents == 1
        assert report.kinds == {
            f"{base}/bad.pdf": "damaged-file",
            f"{base}/gone": "fetch",
            "https://evil.test/": "fetch-refused",
        }
        assert index.catalog.documents("default", limit=9, after=None)[0].sources == (f"{base}/page",)
        assert add_urls(index, [f"{base}/page"], resolve=names).unchanged == 1
        web.pages["/page"] = (200, {"content-type": "text/html"}, PAGE.replace(b"here", b"there"))
        assert add_urls(index, [f"{base}/page"], resolve=names).retired == 1
    assert not list((tmp_path / "home").glob(".fetched-*"))
