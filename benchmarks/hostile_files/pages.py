"""Hostile text: plain, Markdown, reStructuredText, LaTeX, source code, HTML."""

from __future__ import annotations

from benchmarks.hostile_files.honest import TEXT
from benchmarks.hostile_files.record import (
    CLEAN,
    DAMAGED,
    EMPTY,
    LIMIT,
    METADATA_URL,
    SECRET_URL,
    HostileFile,
    fixed,
    repeated,
)

_PROSE = TEXT.encode()
_FRONT = b"---\n%s\n---\n" + _PROSE
_YAML_LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (n, n, *([n - 1] * 9)) for n in range(98, 112)
)
_YAML_CALL = b"!!python/object/apply:os.system ['touch /tmp/winnow-hostile-canary']"


def _page(body: str, head: str = "") -> bytes:
    return f"<html><head>{head}</head><body><p>{TEXT}</p>{body}</body></html>".encode()


def _declared(charset: str) -> bytes:
    """A page that says it is in ``charset``, with bytes that are not UTF-8."""
    return _page("", f'<meta charset="{charset}">').replace(b"Danube", b"Donau f\xfchrt")


def _text() -> list[HostileFile]:
    return [
        HostileFile("long-line.txt", "7 MB without a space or a stop", CLEAN, repeated(b"", b"a", 7_000_000)),
        HostileFile("stops.txt", "3 million full stops", CLEAN, repeated(_PROSE, b".", 3_000_000)),
        HostileFile("quotes.txt", "200,000 quotes and stops", CLEAN, repeated(b"a", b'."', 200_000)),
        HostileFile("formulas.txt", "200,000 $$ that open nothing", CLEAN, repeated(_PROSE, b"$$ ", 200_000)),
        HostileFile(
            "marks.txt",
            "a letter with a million accents",
            CLEAN,
            repeated(b"e", "\u0301".encode(), 1_000_000),
        ),
        HostileFile(
            "overlong.txt",
            "UTF-8 that is too long for its character",
            DAMAGED,
            fixed(_PROSE + b"\xc0\xaf\xe0\x80\xaf" * 9),
        ),
        HostileFile(
            "surrogates.txt", "UTF-8 of half characters", DAMAGED, fixed(_PROSE + b"\xed\xa0\x80" * 99)
        ),
        HostileFile("utf16-bare.txt", "UTF-16 without a mark", DAMAGED, fixed(TEXT.encode("utf-16-le"))),
        HostileFile(
            "mark-lie.txt", "the mark of UTF-8, then Latin-1", DAMAGED, fixed(b"\xef\xbb\xbfGr\xfc\xdfe")
        ),
        HostileFile("mark-odd.txt", "UTF-16 with half a character", DAMAGED, fixed(b"\xff\xfea\x00b")),
        HostileFile(
            "utf32-mark.txt", "UTF-32 of no characters", DAMAGED, fixed(b"\xff\xfe\x00\x00\xff\xff\xff\xff")
        ),
        HostileFile("nul.txt", "NULs between the words", DAMAGED, fixed(_PROSE.replace(b" ", b"\x00"))),
        HostileFile(
            "controls.txt",
            "escape sequences for a terminal",
            DAMAGED,
            repeated(_PROSE, b"\x1b]0;x\x07\x01", 99),
        ),
        HostileFile(
            "direction.txt", "text that reads backwards", CLEAN, fixed(TEXT + "\u202e\u2066evil\u2069")
        ),
        HostileFile(
            "utf7.txt", "a script in UTF-7", CLEAN, fixed("+ADw-script+AD4-alert(1)+ADw-/script+AD4- " + TEXT)
        ),
    ]


def _marked_up() -> list[HostileFile]:
    return [
        HostileFile("brackets.md", "200,000 open brackets", CLEAN, repeated(_PROSE + b"\n\n", b"[", 200_000)),
        HostileFile("quotes.md", "20,000 nested quotes", CLEAN, repeated(b"", b"> ", 20_000, _PROSE)),
        HostileFile(
            "lists.md",
            "a list nested 3,000 deep",
            CLEAN,
            lambda: "".join(f"{'  ' * n}- x\n" for n in range(1500)).encode(),
        ),
        HostileFile(
            "ticks.md",
            "backticks that never close",
            CLEAN,
            lambda: b" ".join(b"`" * n + b"a" for n in range(1, 1500)),
        ),
        HostileFile("stars.md", "300,000 stars", CLEAN, repeated(_PROSE, b"*a _", 75_000)),
        HostileFile(
            "links.md",
            "a link to /etc/passwd",
            CLEAN,
            fixed(f"{TEXT}\n\n![x]({SECRET_URL}) [y]({METADATA_URL})\n"),
        ),
        HostileFile("headings.md", "20,000 headings", CLEAN, repeated(b"", b"# Rivers\n\n", 20_000)),
        HostileFile(
            "tables.md",
            "a table of 5,000 columns",
            CLEAN,
            lambda: b"|a" * 5000 + b"|\n" + b"|-" * 5000 + b"|\n" + b"|b" * 5000 + b"|\n",
        ),
        HostileFile("yaml-laughs.md", "front matter of 9^14 items", CLEAN, fixed(_FRONT % _YAML_LAUGHS)),
        HostileFile("yaml-call.md", "front matter that calls a program", CLEAN, fixed(_FRONT % _YAML_CALL)),
        HostileFile(
            "yaml-deep.md", "front matter nested 50,000 deep", CLEAN, fixed(_FRONT % (b"a: " + b"[" * 50_000))
        ),
    ]


def _source() -> list[HostileFile]:
    return [
        HostileFile("rules.rst", "20,000 underlines", CLEAN, repeated(b"", b"a\n===\n", 20_000)),
        HostileFile(
            "include.rst",
            "includes /etc/passwd",
            CLEAN,
            fixed(f"{TEXT}\n.. include:: /etc/passwd\n\n.. raw:: html\n   :file: /etc/passwd\n"),
        ),
        HostileFile(
            "indents.rst",
            "a literal block indented 3,000 deep",
            CLEAN,
            lambda: b"a::\n\n" + b"".join(b" " * n + b"x\n" for n in range(1, 3000)),
        ),
        HostileFile(
            "input.tex",
            "reads /etc/passwd, runs a program",
            CLEAN,
            fixed(f"{TEXT}\\input{{/etc/passwd}}\\write18{{id}}"),
        ),
        HostileFile(
            "sections.tex", "a million open sections", CLEAN, repeated(_PROSE, b"\\section{", 700_000)
        ),
        HostileFile("loop.tex", "a macro that calls itself", CLEAN, fixed(f"\\def\\x{{\\x\\x}}\\x {TEXT}")),
        HostileFile(
            "dollars.tex", "a million formulas that do not close", CLEAN, repeated(_PROSE, b"$a$$b", 500_000)
        ),
        HostileFile(
            "bomb.py",
            "a program that would run",
            CLEAN,
            fixed("import os\nos.system('touch /tmp/winnow-hostile-canary')\n"),
        ),
        HostileFile(
            "coding.py",
            "says its encoding is a codec that runs",
            CLEAN,
            fixed("# coding: zlib_codec\nx = 1\n"),
        ),
        HostileFile(
            "xxe.xml",
            "an entity that is /etc/passwd",
            CLEAN,
            fixed(f'<!DOCTYPE x [<!ENTITY e SYSTEM "{SECRET_URL}">]><x>&e; {TEXT}</x>'),
        ),
        HostileFile("laughs.yaml", "YAML of 9^14 items", CLEAN, fixed(_YAML_LAUGHS)),
    ]


def _html() -> list[HostileFile]:
    xxe = f'<!DOCTYPE html [<!ENTITY e SYSTEM "{SECRET_URL}">]>'
    laughs = "<!DOCTYPE x [" + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12)) + "]>"
    wide = '<table><tr><td colspan="1000000000" rowspan="1000000000">x</td><td>y</td></tr></table>'
    return [
        HostileFile(
            "deep.html", "elements nested a million deep", DAMAGED, repeated(_PROSE, b"<div>", 1_000_000)
        ),
        HostileFile(
            "deep-tables.html",
            "tables nested 3,000 deep",
            DAMAGED,
            repeated(_PROSE, b"<table><tr><td>", 3000),
        ),
        HostileFile(
            "attributes.html",
            "an element with 300,000 attributes",
            LIMIT,
            lambda: _page("<p " + " ".join(f"a{n}=1" for n in range(300_000)) + ">x</p>"),
        ),
        HostileFile(
            "attribute-long.html",
            "an attribute of 7 MB",
            CLEAN,
            lambda: _page(f'<p title="{"a" * 7_000_000}">x</p>'),
        ),
        HostileFile(
            "comment.html", "a comment that never ends", EMPTY, repeated(b"<html><body><!--", b"a", 5_000_000)
        ),
        HostileFile("spans.html", "cells that span 10^9 rows", CLEAN, fixed(_page(wide))),
        HostileFile(
            "spans-many.html",
            "3,000 cells that each span 1,000 columns",
            CLEAN,
            lambda: _page("<table>" + "<tr><td colspan=1000>river</td><td>y</td></tr>" * 3000 + "</table>"),
        ),
        HostileFile(
            "entity-file.html", "an entity that is /etc/passwd", CLEAN, fixed(xxe.encode() + _page("&e;"))
        ),
        HostileFile("laughs.html", "entities of entities", CLEAN, fixed(laughs.encode() + _page("&l11;"))),
        HostileFile(
            "laughs.xhtml",
            "entities of entities",
            CLEAN,
            fixed(b'<?xml version="1.0"?>' + laughs.encode() + _page("&l11;")),
        ),
        HostileFile(
            "include.xhtml",
            "includes /etc/passwd",
            CLEAN,
            fixed(
                _page(
                    f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" '
                    f'href="{SECRET_URL}"/>'
                )
            ),
        ),
    ]


def _html_references() -> list[HostileFile]:
    return [
        HostileFile(
            "remote.html",
            "pictures, frames and styles from elsewhere",
            CLEAN,
            fixed(
                _page(
                    f'<img src="{METADATA_URL}"><iframe src="{SECRET_URL}"></iframe>'
                    f'<link rel="stylesheet" href="{METADATA_URL}">'
                )
            ),
        ),
        HostileFile(
            "refresh.html",
            "goes elsewhere at once",
            CLEAN,
            fixed(
                _page(
                    "",
                    f'<meta http-equiv="refresh" content="0;url={METADATA_URL}"><base href="{SECRET_URL}">',
                )
            ),
        ),
        HostileFile(
            "script.html", "a script that never ends", CLEAN, fixed(_page("<script>for(;;);</script>"))
        ),
        HostileFile("charset-rot13.html", "says it is in ROT13", CLEAN, fixed(_declared("rot13"))),
        HostileFile("charset-zlib.html", "says it is in zlib", CLEAN, fixed(_declared("zlib_codec"))),
        HostileFile(
            "charset-escape.html", "says it is in Python's escapes", CLEAN, fixed(_declared("unicode_escape"))
        ),
        HostileFile(
            "charset-none.html", "says it is in no known encoding", CLEAN, fixed(_declared("x-nothing"))
        ),
        HostileFile("charset-utf7.html", "says it is in UTF-7", CLEAN, fixed(_declared("utf-7"))),
        HostileFile(
            "plaintext.html",
            "nothing after <plaintext> is markup",
            CLEAN,
            repeated(_page("<plaintext>"), b"</p><script>", 1000),
        ),
        HostileFile(
            "pre.html",
            "a <pre> of 2 million lines",
            CLEAN,
            repeated(b"<html><body><pre>x", b"\n", 2_000_000, b"y</pre></body></html>"),
        ),
    ]


def files() -> list[HostileFile]:
    """The hostile files that are text."""
    return [*_text(), *_marked_up(), *_source(), *_html(), *_html_references()]
