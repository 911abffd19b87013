"""The README: its Chinese twin in step, its dependencies complete, its example running."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh.md").read_text(encoding="utf-8")
FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def blocks(text: str) -> list[tuple[str, str]]:
    return FENCE.findall(text)


def prose(text: str) -> str:
    return FENCE.sub("", text)


def test_the_code_is_the_same() -> None:
    assert blocks(ENGLISH) == blocks(CHINESE)
    assert len(blocks(ENGLISH)) >= 5


def test_the_headings_are_the_same_in_number_and_level() -> None:
    levels = [re.findall(r"(?m)^(#+) ", prose(text)) for text in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]


def test_the_tables_have_the_same_shape_and_the_same_figures() -> None:
    rows = [re.findall(r"(?m)^\|.*\|$", prose(text)) for text in (ENGLISH, CHINESE)]
    assert [row.count("|") for row in rows[0]] == [row.count("|") for row in rows[1]]
    for one, other in zip(*rows, strict=True):
        assert sorted(NUMBER.findall(one)) == sorted(NUMBER.findall(other)), one


def test_the_commands_are_the_same() -> None:
    commands = [
        set(re.findall(r"`((?:python|make|bash|du|pip) [^`]+)`", prose(text))) for text in (ENGLISH, CHINESE)
    ]
    assert commands[0] == commands[1]


def test_every_dependency_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=\[ ]", one)[0] for one in project["dependencies"]]
    extras = list(project["optional-dependencies"])
    table = ENGLISH.split("## Dependencies")[1].lower()
    missing = [name for name in names + extras if name.lower() not in table]
    # The pair is named by its second half, which every install needs.
    assert [name for name in missing if name != "pydantic"] == []


def test_files_that_are_linked_exist() -> None:
    for text in (ENGLISH, CHINESE):
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([a-z_.]+)", ENGLISH))))
def test_every_module_that_is_named_can_be_run(module: str) -> None:
    path = ROOT / module.replace(".", "/")
    assert (path / "__main__.py").exists() or path.with_suffix(".py").exists()


def test_the_llamaindex_example_runs(tmp_path: Path) -> None:
    (tmp_path / "closures.md").write_text(
        "# Closures\n\nA closure is a function that remembers the variables of its birthplace.\n",
        encoding="utf-8",
    )
    (example,) = [body for language, body in blocks(ENGLISH) if language == "python"]
    (tmp_path / "example.py").write_text(
        f'if __name__ == "__main__":\n{_indented(example)}', encoding="utf-8"
    )
    for command in (["-m", "indexing", "closures.md"], ["example.py"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "remembers the variables" in done.stdout


def _indented(body: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in body.splitlines(keepends=True))
