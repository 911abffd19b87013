"""The page's files as they are: no browser needed."""

from __future__ import annotations

import re

import pytest

from tests.fakes.page_server import PAGE


def test_the_page_asks_nothing_of_other_machines() -> None:
    for file in PAGE.iterdir():
        found = set(re.findall(r"https?://[^\s\"'<>)]+", file.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org/2000/svg"}, file.name
        unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\("
        assert not re.search(unsafe, file.read_text(encoding="utf-8")), file.name
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    inline = r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)"
    assert not re.search(inline, html), "the policy forbids inline code"


def _luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast(scheme: int) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text on every ground it stands on."""
    css = (PAGE / "style.css").read_text(encoding="utf-8")
    block = re.findall(r":root {(.*?)}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))
    pairs = [(ink, ground) for ink in ("ink", "soft", "accent", "bad") for ground in ("ground", "raised")]
    pairs += [("ink", "mark"), ("ink", "mark-soft"), ("accent-ink", "accent")]
    for ink, ground in pairs:
        light, dark = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_every_file_the_page_names_is_there() -> None:
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r"static/([\w.]+)", html))
    for file in PAGE.glob("*.js"):
        named |= set(re.findall(r"from \"\./([\w.]+)\"", file.read_text(encoding="utf-8")))
    assert named <= {file.name for file in PAGE.iterdir()}
    assert {file.name for file in PAGE.glob("*.js")} <= named
