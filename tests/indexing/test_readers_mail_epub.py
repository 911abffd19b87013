from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from indexing.errors import DamagedFileError, EmptyFileError, EncryptedFileError
from tests.fakes.files import (
    eml_bytes,
    epub_bytes,
    extract,
    extract_one,
    read,
    sections_of,
    units_of,
    zip_bytes,
)


def test_mail(tmp_path: Path) -> None:
    found = read(tmp_path, "a.eml", eml_bytes())
    assert found.title == "Über den Bericht 报告"
    assert found.text == "Über den Bericht 报告\n\nDear Bo,\n\nthe report is late. Sorry."
    assert sections_of(found) == [(1, "Über den Bericht 报告")]
    assert found.metadata == {
        "from": "Ann <ann@example.org>",
        "to": "bo@example.org",
        "date": "2024-01-01T10:00:00+01:00",
        "attachments": "report.pdf",
    }


def test_mail_to_everybody(tmp_path: Path) -> None:
    body = "From: a@b.c\nDate: yesterday\nTo: " + "a@example.org, " * 20_000 + "\n\nHello."
    found = read(tmp_path, "a.eml", body.encode())
    assert found.text == "Hello."
    assert found.metadata["date"] == "yesterday"
    assert str(found.metadata["to"]).startswith("a@example.org, a@example.org")
    assert len(str(found.metadata["to"])) <= 2000


def test_mail_in_html_alone(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"] = "S"
    message.set_content("<h2>Head</h2><p>Text</p><script>no()</script>", subtype="html")
    found = read(tmp_path, "a.eml", message.as_bytes())
    assert sections_of(found) == [(1, "S"), (2, "Head")]
    assert found.text == "S\n\nHead\n\nText"


@pytest.mark.parametrize("charset", ["gb2312", "utf-8", "x-unknown"])
def test_mail_charsets(tmp_path: Path, charset: str) -> None:
    text = "你好，报告在附件里。"
    encoding = "gb18030" if charset == "x-unknown" else charset
    kind = f"Content-Type: text/plain; charset={charset}"
    head = f"Subject: s\r\n{kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    assert read(tmp_path, "a.eml", head.encode() + text.encode(encoding)).text == f"s\n\n{text}"


def test_mail_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    whole = eml_bytes()
    for data in (b"", b"no headers here", whole[: len(whole) // 2], whole[:-20]):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=r"a\.eml"):
            extract(path)


def test_mail_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(b"From: a@b.c\nContent-Type: application/pkcs7-mime; name=smime.p7m\n\nMIIB")
    with pytest.raises(EncryptedFileError, match=r"a\.eml"):
        extract(path)


def test_mail_with_nothing_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(b"From: a@b.c\n\n\n")
    with pytest.raises(EmptyFileError):
        extract(path)


def test_epub_in_spine_order(tmp_path: Path) -> None:
    found = read(tmp_path, "a.epub", epub_bytes())
    assert found.title == "The book"
    assert found.metadata == {"creator": "A. Writer"}
    assert sections_of(found) == [(1, "Two"), (1, "One")]
    assert units_of(found) == ["Rain | 2021: 7"]
    assert found.text == "Two\n\nIt ended in June.\n\nRain | 2021: 7\n\nOne\n\nIt began in May."


def test_epub_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.epub"
    whole = epub_bytes()
    missing = epub_bytes(
        extra={
            "OPS/book.opf": '<package><manifest><item id="a" href="no.xhtml" '
            'media-type="text/html"/></manifest><spine><itemref idref="a"/></spine></package>'
        }
    )
    dangling = epub_bytes(extra={"OPS/book.opf": '<package><spine><itemref idref="a"/></spine></package>'})
    broken = epub_bytes(extra={"OPS/book.opf": "<package><manifest>"})
    for data in (
        b"",
        whole[: len(whole) // 2],
        whole[:-10],
        zip_bytes({"a": "b"}),
        missing,
        dangling,
        broken,
    ):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=r"a\.epub"):
            extract(path)


def test_epub_with_drm_and_with_obfuscated_fonts(tmp_path: Path) -> None:
    path = tmp_path / "a.epub"
    body = '<encryption xmlns:e="x"><e:EncryptionMethod Algorithm="{}"/></encryption>'
    path.write_bytes(epub_bytes(extra={"META-INF/encryption.xml": body.format("http://www.w3.org/aes128")}))
    with pytest.raises(EncryptedFileError, match="DRM"):
        extract(path)
    fonts = body.format("http://www.idpf.org/2008/embedding")
    path.write_bytes(epub_bytes(extra={"META-INF/encryption.xml": fonts}))
    assert extract_one(path).title == "The book"


def test_epub_external_entities_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    entity = f'<!DOCTYPE p [<!ENTITY x SYSTEM "file://{secret}">]>'
    path = tmp_path / "a.epub"
    path.write_bytes(epub_bytes(extra={"OPS/book.opf": entity + "<package>&x;</package>"}))
    with pytest.raises(DamagedFileError, match="declares XML entities"):
        extract(path)
    path.write_bytes(epub_bytes([entity + "<html><body><p>Text &x; here</p></body></html>"]))
    assert "SECRET" not in extract_one(path).text
