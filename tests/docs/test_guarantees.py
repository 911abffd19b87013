"""Every test that docs/guarantees.md names is there, and every command can be run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for line in TEXT.splitlines():
        file: Path | None = None
        for name in re.findall(r"`([\w/.:]+)`", line):
            path, _, test = name.partition("::")
            if path.endswith(".py"):
                file = ROOT / "tests" / path
            if name.endswith(".py") or test:
                known = file is not None and file.is_file()
                if not known or (test and f"def {test}(" not in file.read_text(encoding="utf-8")):
                    missing.append(name)
    assert missing == []


def test_every_command_that_is_named_can_be_run() -> None:
    for module in re.findall(r"python -m (?!pytest)([a-z_.]+)", TEXT):
        path = ROOT / module.replace(".", "/")
        assert (path / "__main__.py").is_file() or path.with_suffix(".py").is_file(), module


def test_folders_and_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
