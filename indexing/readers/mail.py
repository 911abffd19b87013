"""Mail (.eml): the subject and the readable body; attachments are named, not opened."""

from __future__ import annotations

import email.policy
from collections.abc import Iterator
from email import errors as mail_errors
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime

from indexing.errors import DamagedFileError, EncryptedFileError
from indexing.readers.builder import TextBuilder, one_line
from indexing.readers.encodings import decode
from indexing.readers.metadata import scalars
from indexing.readers.source import Source
from indexing.records import Extraction

_MAX_HEADER_CHARS = 8000
_TELLING = ("From", "To", "Subject", "Date", "Message-ID", "Received", "Return-Path")
_SEALED = frozenset({"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})
# The standard parser never fails, it notes; these notes mean that bytes are missing.
_CUT_SHORT = (
    mail_errors.CloseBoundaryNotFoundDefect,
    mail_errors.StartBoundaryNotFoundDefect,
    mail_errors.NoBoundaryInMultipartDefect,
    mail_errors.InvalidBase64LengthDefect,
)


def read_mail(source: Source) -> Iterator[Extraction]:
    """Yield one message: the subject as title and first heading, then the body.

    ``text/plain`` is preferred to HTML.  Sender, recipients, date and the
    names of attachments are metadata.

    Raises:
        DamagedFileError: no mail headers, or a part that is cut short.
        EncryptedFileError: S/MIME or PGP content.
    """
    message = BytesParser(policy=email.policy.default).parsebytes(source.read())
    if not isinstance(message, EmailMessage) or not any(name in message for name in _TELLING):
        raise DamagedFileError(f"{source.name} is not a mail: no From, To, Subject or Date header")
    if message.get_content_type() in _SEALED:
        raise EncryptedFileError(f"{source.name} is an encrypted mail")
    builder = source.builder()
    subject = _header(message, "Subject")
    builder.heading(subject, 1)
    body = message.get_body(preferencelist=("plain", "html"))
    if isinstance(body, EmailMessage):
        _append_body(builder, body, source.name)
    for part in message.walk():
        defects = [defect for defect in part.defects if isinstance(defect, _CUT_SHORT)]
        if defects:
            raise DamagedFileError(f"{source.name} is cut short: {defects[0].__doc__ or defects[0]!r}")
    yield builder.build(title=subject, metadata=scalars(_fields(message)))


def _append_body(builder: TextBuilder, body: EmailMessage, name: str) -> None:
    data = body.get_payload(decode=True)
    if not isinstance(data, bytes):
        return
    text = decode(data, name, declared=body.get_content_charset())
    if body.get_content_type() != "text/html":
        builder.paragraph(text)
        return
    if text.strip():
        from indexing.readers.html import append_html, parse_html_text

        append_html(builder, parse_html_text(text, name))


def _fields(message: EmailMessage) -> dict[str, object]:
    attachments = [name for part in message.iter_attachments() if (name := part.get_filename())]
    return {
        "from": _header(message, "From"),
        "to": _header(message, "To"),
        "cc": _header(message, "Cc"),
        "date": _date(message),
        "attachments": attachments,
    }


def _header(message: EmailMessage, name: str) -> str:
    """A header as text; the parser's address grammar takes seconds on one of 100 kB, so those stay raw."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    value = raw[:_MAX_HEADER_CHARS] if len(raw) > _MAX_HEADER_CHARS else message.get(name)
    return one_line(str(value or ""))


def _date(message: EmailMessage) -> str:
    written = _header(message, "Date")
    try:
        return parsedate_to_datetime(written).isoformat()
    except ValueError:
        return written
