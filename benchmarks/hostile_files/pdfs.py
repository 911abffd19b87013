"""Hostile PDFs, written object by object."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import partial

from benchmarks.hostile_files.bombs import zlib_bomb
from benchmarks.hostile_files.record import CLEAN, CRASH, DAMAGED, EMPTY, ENCRYPTED, LIMIT, HostileFile

_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
_WORDS = b"BT /F1 12 Tf 72 700 Td (The Danube rises in the Black Forest.) Tj ET"


def stream(data: bytes, extra: bytes = b"", length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return b"<</Length %d%s>>stream\n%s\nendstream" % (size, extra, data)


def flate(data: bytes, times: int = 1, extra: bytes = b"") -> bytes:
    """A stream packed ``times`` times over."""
    for _ in range(times):
        data = zlib.compress(data, 9)
    return packed(data, times, extra)


def packed(data: bytes, times: int = 1, extra: bytes = b"") -> bytes:
    return stream(data, b"/Filter[%s]%s" % (b"/FlateDecode" * times, extra))


def build(
    objects: Mapping[int, bytes], trailer: bytes = b"", *, xref: bool = True, end: bytes = b"%%EOF\n"
) -> bytes:
    """A PDF of numbered objects; number 1 is the catalogue."""
    out = bytearray(b"%PDF-1.7\n")
    offsets: dict[int, int] = {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    top = max(objects)
    if xref:
        out += b"xref\n0 %d\n0000000000 65535 f \n" % (top + 1)
        for number in range(1, top + 1):
            out += b"%010d 00000 %s \n" % (offsets.get(number, 0), b"n" if number in offsets else b"f")
    out += b"trailer\n<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n" % (top + 1, trailer, start)
    return bytes(out + end)


def page(
    content: bytes | None = None,
    *,
    pages: bytes = b"",
    kids: bytes = b"[3 0 R]",
    count: int = 1,
    box: bytes = b"[0 0 612 792]",
    catalogue: bytes = b"",
    resources: bytes = b"",
    more: Mapping[int, bytes] | None = None,
    trailer: bytes = b"",
) -> bytes:
    """A PDF of one page; ``more`` objects from number 6 on, or in place of those below."""
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R%s>>" % catalogue,
        2: b"<</Type/Pages/Kids%s/Count %d%s>>" % (kids, count, pages),
        3: b"<</Type/Page/Parent 2 0 R/MediaBox%s/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>%s>>>>"
        % (box, resources),
        4: stream(_WORDS) if content is None else content,
        5: _FONT,
        **(more or {}),
    }
    return build(objects, trailer)


def _deep_tree(levels: int) -> bytes:
    more = {
        number: b"<</Type/Pages/Parent %d 0 R/Kids[%d 0 R]/Count 1>>" % (number - 1, number + 1)
        for number in range(6, 6 + levels)
    }
    more[6 + levels] = b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>" % (5 + levels)
    return page(kids=b"[6 0 R]", more=more)


def _forms(levels: int, each: int) -> bytes:
    """Each form draws the next one ``each`` times."""
    more = {}
    for number in range(6, 6 + levels):
        draw = b"/X Do " * each if number < 5 + levels else _WORDS
        extra = (
            b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<</Font<</F1 5 0 R>>"
            b"/XObject<</X %d 0 R>>>>" % (number + 1)
        )
        more[number] = stream(draw, extra)
    return page(stream(b"/X Do " * each), resources=b"/XObject<</X 6 0 R>>", more=more)


def _self_form() -> bytes:
    extra = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>"
    content = stream(_WORDS + b" /X Do")
    return page(content, resources=b"/XObject<</X 6 0 R>>", more={6: stream(b"/X Do /X Do", extra)})


def _same_page(times: int) -> bytes:
    return page(kids=b"[" + b"3 0 R " * times + b"]", count=times)


def _outline_loop() -> bytes:
    entry = b"<</Title(River)/Parent 6 0 R/Next 7 0 R/First 6 0 R/Dest[3 0 R/Fit]>>"
    return page(
        catalogue=b"/Outlines 6 0 R", more={6: b"<</First 7 0 R/Last 7 0 R/Count 9999999>>", 7: entry}
    )


def _object_stream_loop() -> bytes:
    inner = b"6 0 7 9 <</A 6 0 R>> <</B 7 0 R>>"
    return page(more={8: stream(inner, b"/Type/ObjStm/N 2/First 8/Extends 8 0 R")})


def _prev_loop() -> bytes:
    data = page()
    start = data.rindex(b"xref\n0")
    return data.replace(b"/Root 1 0 R", b"/Root 1 0 R/Prev %d" % start)


def _encrypted() -> bytes:
    key = b"<</Filter/Standard/V 1/R 2/O(%s)/U(%s)/P -4>>" % (b"o" * 32, b"u" * 32)
    return page(more={6: key}, trailer=b"/Encrypt 6 0 R/ID[(a)(a)]")


def _cmap() -> bytes:
    ranges = b"100 beginbfrange\n" + b"<0000><ffff><0041>\n" * 100 + b"endbfrange\n"
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>"
    return page(more={5: font, 6: flate(ranges * 2000)})


def _runs(times: int) -> bytes:
    return flate(b"BT /F1 8 Tf " + b"1 0 0 1 9 9 Tm (a) Tj 1 0 0 1 80 700 Tm (b) Tj " * times + b"ET")


def _pdf(name: str, attack: str, expect: str, data: partial[bytes] | bytes) -> HostileFile:
    make = data if isinstance(data, partial) else partial(bytes, data)
    return HostileFile(f"{name}.pdf", attack, expect, make)


def _blanks(megabytes: int, times: int) -> bytes:
    data = zlib_bomb(megabytes)
    for _ in range(times - 1):
        data = zlib.compress(data, 9)
    return page(packed(data, times))


def _catalogue(entry: bytes, more: Mapping[int, bytes] | None = None) -> bytes:
    return page(catalogue=entry, more=more)


def files() -> list[HostileFile]:
    """The hostile PDFs."""
    ascii_bomb = stream(b"<" + b"20" * 1000 + b">", b"/Filter[/ASCIIHexDecode/FlateDecode]")
    runs = stream(b"\x81 " * 500_000 + b"\x80", b"/Filter/RunLengthDecode")
    image = (
        b"/Type/XObject/Subtype/Image/Width 60000/Height 60000/ColorSpace/DeviceRGB/BitsPerComponent 8"
        b"/Filter/FlateDecode"
    )
    predictor = b"/DecodeParms[<</Predictor 12/Columns 2147483647/Colors 32>>]"
    nested = b"[" * 200_000 + b"]" * 200_000
    javascript = b"/OpenAction<</S/JavaScript/JS(while\\(true\\){})>>"
    launch = b"/OpenAction<</S/Launch/F(/bin/sh)>>"
    remote = b"/OpenAction<</S/GoToR/F<</FS/URL/F(http://169.254.169.254/)>>>>"
    return [
        _pdf("flate-bomb", "1 GB of blanks in 1 MB", CRASH, partial(_blanks, 1000, 1)),
        _pdf("flate-nested", "blanks packed three times over", EMPTY, partial(_blanks, 100, 3)),
        _pdf("flate-text-bomb", "a million words in one page", CRASH, partial(_page_of_runs, 1_500_000)),
        _pdf(
            "flate-broken", "a Flate stream that is none", EMPTY, page(stream(b"zzz", b"/Filter/FlateDecode"))
        ),
        _pdf("hex-then-flate", "a filter chain over junk", EMPTY, page(ascii_bomb)),
        _pdf("run-length-bomb", "64 MB of blanks by run length", EMPTY, page(runs)),
        _pdf("predictor-columns", "rows of 2^31 columns", EMPTY, page(flate(_WORDS, 1, predictor))),
        _pdf("length-too-long", "a stream says it is 2 GB", CLEAN, page(stream(_WORDS, length=2**31 - 1))),
        _pdf("length-too-short", "a stream says it is 1 byte", CLEAN, page(stream(_WORDS, length=1))),
        _pdf("length-negative", "a stream says it is -5 bytes", CLEAN, page(stream(_WORDS, length=-5))),
        _pdf("page-loop", "the page tree is its own child", DAMAGED, page(kids=b"[2 0 R]", count=5)),
        _pdf("page-tree-deep", "a page 5,000 levels down", DAMAGED, partial(_deep_tree, 5000)),
        _pdf("pages-lie", "says it has 2 billion pages", CLEAN, page(count=2**31 - 1)),
        _pdf("pages-negative", "says it has -1 pages", CLEAN, page(count=-1)),
        _pdf("pages-many", "one page, 25,000 times", LIMIT, partial(_same_page, 25_000)),
        _pdf("outline-loop", "bookmarks that follow themselves", CLEAN, _outline_loop()),
        _pdf("prev-loop", "a cross-reference that is before itself", CLEAN, _prev_loop()),
        _pdf("xref-missing", "no cross-reference at all", CLEAN, _without_xref()),
        _pdf("xref-wrong", "every offset is wrong", CLEAN, page().replace(b"00000000", b"00000001")),
        _pdf("object-stream-loop", "an object stream extends itself", CLEAN, _object_stream_loop()),
        _pdf("form-loop", "a form draws itself twice", CRASH, _self_form()),
        _pdf("form-bomb", "ten forms draw ten forms, nine levels", CRASH, partial(_forms, 9, 10)),
        _pdf("no-end", "the end is cut off", DAMAGED, page()[:-30]),
        _pdf("no-header", "not a PDF from the first byte", DAMAGED, page().replace(b"%PDF", b"%XXX")),
        _pdf("encrypted", "needs a password", ENCRYPTED, _encrypted()),
        _pdf("javascript", "a script runs when it opens", CLEAN, _catalogue(javascript)),
        _pdf("launch", "a program starts when it opens", CLEAN, _catalogue(launch)),
        _pdf("remote", "asks for a URL when it opens", CLEAN, _catalogue(remote)),
        _pdf("image-bomb", "an image of 3.6 gigapixels", EMPTY, _image(image)),
        _pdf("box-huge", "a page 10^9 points wide", CLEAN, page(box=b"[0 0 1000000000 1000000000]")),
        _pdf("box-nan", "a page of no size", CLEAN, page(box=b"[nan inf -inf 0]")),
        _pdf("cmap-bomb", "200,000 ranges of 65,536 characters", CLEAN, partial(_cmap)),
        _pdf("arrays-deep", "arrays nested 200,000 deep", CLEAN, page(more={6: nested})),
        _pdf(
            "states-deep", "a million saved graphics states", CLEAN, page(flate(b"q " * 1_000_000 + _WORDS))
        ),
        _pdf(
            "root-missing",
            "the catalogue is not there",
            DAMAGED,
            build({2: b"<</Type/Pages/Kids[]/Count 0>>"}),
        ),
    ]


def _page_of_runs(times: int) -> bytes:
    return page(_runs(times))


def _without_xref() -> bytes:
    return build(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
            b"/Resources<</Font<</F1 5 0 R>>>>>>",
            4: stream(_WORDS),
            5: _FONT,
        },
        xref=False,
    )


def _image(extra: bytes) -> bytes:
    more = {6: stream(zlib.compress(b"\x00" * 1000), extra)}
    return page(stream(b"q 612 0 0 792 0 0 cm /I Do Q"), resources=b"/XObject<</I 6 0 R>>", more=more)
