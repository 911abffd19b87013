"""The ready-made requests: real ids, and every one of them answered by Qdrant's API."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from indexing import cli
from indexing.dashboard.cli import api_address
from indexing.identity import point_id
from indexing.session import Index
from indexing.settings import load_settings
from tests.fakes.index_parts import fake_index

TEXT = """# Rivers

The Danube flows east. It carries extraordinary loads.

## Birds

It's where pelicans nest.
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_INDEXING__READ_WORKERS", "0")
    monkeypatch.setattr(Index, "open", lambda settings, *, with_encoders=True: fake_index(settings))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(TEXT)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_the_requests_name_what_is_there(run: Run, tmp_path: Path) -> None:
    assert run("docs")[0] == 0
    code, out, _ = run("dashboard", "--json")
    assert code == 0
    asked = {one["question"]: one for one in json.loads(out)}
    (document,) = json.loads(run("list", "--json")[1])
    (between,) = [one for question, one in asked.items() if "neighbours" in question]
    ids = [point_id("default", document["doc_id"], document["version"], at) for at in range(5)]
    assert between["body"]["ids"] == ids[: document["sentences"]]
    similar = next(one for question, one in asked.items() if "similar" in question)
    assert similar["body"]["query"] == ids[document["sentences"] // 2]
    words = next(one for question, one in asked.items() if "BM25" in question)
    assert len(words["body"]["query"]["indices"]) == 1
    assert all(one["path"].startswith("collections/winnow") for one in asked.values())
    # The embedded engine's API has no page about optimizations; a server's does.
    assert not any("optimizations" in one["path"] for one in asked.values())


def test_the_console_s_form_and_the_shell_s(run: Run) -> None:
    run("docs")
    code, out, _ = run("dashboard", "--word", "it's")
    assert code == 0
    head, *blocks = out.strip().split("\n\n")
    assert head.endswith("http://127.0.0.1:8000/qdrant/dashboard#/console")
    for block in blocks:
        comment, line, *body = block.split("\n")
        assert comment.startswith("// ")
        method, path = line.split(" ")
        assert (method in ("GET", "POST"), path.startswith("collections/")) == (True, True)
        assert bool(body) == (method == "POST")
        if body:
            json.loads("\n".join(body))
    code, out, _ = run("dashboard", "--word", "it's", "--curl")
    commands = [line for line in out.splitlines() if line.startswith("curl")]
    assert len(commands) == len(blocks)
    bodies = [shlex.split(one)[-1] for one in commands if " -d " in one]
    assert any("it's" in json.dumps(json.loads(body)) for body in bodies)


def test_what_cannot_be_asked_about(run: Run) -> None:
    code, _, err = run("dashboard")
    assert (code, "no index at" in err) == (2, True)
    run("docs")
    assert run("dashboard", "--tenant", "nobody")[0] == 2
    assert run("dashboard", "--doc", "unknown")[0] == 1


def test_where_the_api_is(tmp_path: Path) -> None:
    server = load_settings(home=tmp_path, collection={"home": "server", "url": "http://db:6333/"})
    assert api_address(server) == "http://db:6333"
    assert api_address(load_settings(home=tmp_path, serving={"host": "::1"})) == "http://[::1]:8000/qdrant"
