"""Invented documents for the page's fake service: English, Chinese, hostile and long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

QUESTION = "When should a slow sand filter be cleaned after an algal bloom?"
EVIL_TITLE = "<script>window.hacked = 'title'</script>"
EVIL_TEXT = (
    'Sand <img src="x" onerror="window.hacked = \'text\'"> is washed before use. '
    "Its section says <b>bold</b> & means it."
)
LONG_ENTRIES = 2000


@dataclass(frozen=True)
class Block:
    """A run of sentences under one section, on one page."""

    section: str
    page: int | None
    text: str


REPORT = "Annual report 2021"
GUIDE = "Operating a slow sand filter"


def report() -> list[Block]:
    return [
        Block(
            f"{REPORT} > The year in brief",
            1,
            "Northwater supplied 41.2 million cubic metres of drinking water in 2021. "
            "Two of the five treatment plants ran on slow sand filters all year. "
            "The company finished the year with a small surplus, after a dry spring raised pumping costs.",
        ),
        Block(
            f"{REPORT} > Income statement",
            12,
            "Revenue rose 4.1% to $86.3 million, because tariffs followed the price index. "
            "Energy cost $9.7 million, 18% more than in 2020. "
            "Depreciation of the treatment plants came to $11.4 million.\n"
            "Item            2021    2020\n"
            "Revenue         86.3    82.9\n"
            "Energy           9.7     8.2\n"
            "Depreciation    11.4    11.1",
        ),
        Block(
            f"{REPORT} > Risks > Water quality",
            31,
            "Algal blooms in the upper reservoir are the largest risk to water quality. "
            "In July 2021 a bloom shortened filter runs at the Elmbridge plant from 60 days to 19. "
            "The board has approved a covered pre-filter, to be built by 2023.",
        ),
    ]


def guide() -> list[Block]:
    return [
        Block(
            f"{GUIDE} > What the filter does",
            None,
            "A slow sand filter cleans water by letting it sink through a bed of fine sand. "
            "Most of the work is done by the schmutzdecke, a living layer a few millimetres thick on it. "
            "It takes two to three weeks to ripen, and water from an unripe filter must not be supplied.",
        ),
        Block(
            f"{GUIDE} > Cleaning > When to clean",
            None,
            "Clean the filter when the head loss reaches its limit, usually after one to two months. "
            "An algal bloom in the raw water can shorten that to less than three weeks. "
            "Drain the water to 20 cm below the surface of the sand before anyone steps on it.",
        ),
        Block(
            f"{GUIDE} > Cleaning > How to clean",
            None,
            "Scrape off the top 1 to 2 cm of sand with flat shovels. "
            "Wash the scraped sand and store it; it returns when the bed has become thinner than 60 cm. "
            "After cleaning, let the filter ripen again for at least two days and test for coliforms. "
            "The head loss across a clean bed, 𝛥h, is about 5 cm.",
        ),
    ]


def handbook() -> list[Block]:
    return [
        Block(
            "古籍修复手册 > 第一章 纸张",
            3,
            "修复古籍之前，应先鉴定纸张的种类与酸碱度。竹纸韧性较差，修补时宜用较薄的皮纸。"
            "酸化严重的书叶须先脱酸，再行修补；脱酸液的浓度不得超过百分之二。",
        ),
        Block(
            "古籍修复手册 > 第二章 糨糊",
            9,
            "糨糊用小麦淀粉调制，不加明矾。夏季糨糊容易发霉，应当天调制、当天用完。"
            "糨糊过稠会使书叶发硬，过稀则粘接不牢。",
        ),
        Block(
            "古籍修复手册 > 第三章 虫蛀",
            15,
            "虫蛀的书叶先用冷冻法杀虫：在零下二十九度下放置七十二小时。“先杀虫，后修补”是不变的次序。"
            "虫洞从背面补起，补纸比虫洞大两毫米。",
        ),
    ]


def logbook() -> list[Block]:
    """About 250,000 characters, with characters outside the basic plane all along."""
    weather = ("clear", "rain", "fog", "wind from the west", "frost")
    entries = []
    for day in range(LONG_ENTRIES):
        run = day % 61
        year, rest = divmod(day, 360)
        entries.append(
            Block(
                f"Logbook > Year {year + 1}",
                day // 25 + 1,
                f"Day {day}: {weather[day % 5]}, filter run day {run}, head loss 𝛥h {5 + run} cm. "
                f"Flow was {180 - run} cubic metres an hour; entry {year + 1}/{rest + 1} is signed.",
            )
        )
    return entries


def blocks() -> list[tuple[Any, ...]]:
    """Arguments of ``document``, then the further sources."""
    home = "file:///srv/docs"
    pdf, docx = "application/pdf", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    copy = f"{home}/old/slow-sand-copy.md"
    evil = [Block("Notes > <i>Sand</i>", None, EVIL_TEXT)]
    return [
        ("a1", "Northwater: annual report 2021", f"{home}/reports/northwater-2021.pdf", pdf, report(), ()),
        ("b2", GUIDE, f"{home}/manuals/slow-sand.md", "text/markdown", guide(), (copy,)),
        ("c3", "古籍修复手册", f"{home}/手册/古籍修复.docx", docx, handbook(), ()),
        ("d4", EVIL_TITLE, f"{home}/evil.html", "text/html", evil, ()),
        ("e5", "Elmbridge plant logbook", f"{home}/logbook.txt", "text/plain", logbook(), ()),
    ]
