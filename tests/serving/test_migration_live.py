"""A service under load while its encoders change and change back: no failed query, no mixed answer."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexing import cli
from indexing.command_line import exit_code_of
from indexing.encoders.export import ExportOptions, export
from indexing.session import Index
from indexing.settings import load_settings
from retrieval import migration
from tests.fakes.processes import ServiceProcess
from tests.fakes.tiny_models import WORDS, sentence_transformer_folder

PATIENCE_S = 300.0
PAUSE_S = 0.05  # leaves the processor to the change of encoders
Command = Callable[[list[str]], int]
QUESTIONS = ("river bank flows", "capital of france", "the lazy dog", "search engine index", "money loan")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two exported encoders of the same size whose vectors have nothing in common."""
    folder = tmp_path_factory.mktemp("encoders")
    made = []
    for name, seed in (("old", 7), ("new", 8)):
        source = sentence_transformer_folder(folder / f"{name}-source", seed=seed)
        export(source, folder / name, ExportOptions(scripts=("Latin",), name=name))
        made.append(str(folder / name))
    return made[0], made[1]


def compare(arguments: list[str]) -> int:
    """``python -m retrieval.migration``."""
    return exit_code_of(lambda: migration.app(arguments, standalone_mode=False))


@dataclass(frozen=True)
class Answer:
    """What one search got; ``ids`` of the results in their order."""

    status: int
    question: str
    generation: int
    ids: tuple[str, ...]


class Load:
    """Threads that go on searching, over documents that nobody changes."""

    def __init__(self, url: str, threads: int = 2) -> None:
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._url = url
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_S) as client:
            while not self._stop.is_set():
                for question in QUESTIONS:
                    self.answers.append(ask(client, question))
                    assert client.post("/v1/search", json={"query": question}).status_code == 200
                    time.sleep(PAUSE_S)

    def sees(self, generation: int, count: int = 20) -> None:
        """Wait until so many answers in a row came from this generation."""
        end = time.monotonic() + PATIENCE_S
        while {one.generation for one in self.answers[-count:]} != {generation}:
            assert time.monotonic() < end, f"generation {generation} never answered"
            time.sleep(0.05)
        have = len(self.answers)
        while len(self.answers) < have + count:
            assert time.monotonic() < end, "the load has stopped"
            time.sleep(0.05)


def ask(client: httpx.Client, question: str) -> Answer:
    """Search the unchanging documents by the dense side, whose ranking depends on the encoder alone."""
    body = {"query": question, "mode": "dense", "filter": {"title": "stable"}, "top_n": 5, "window_size": 0}
    try:
        answer = client.post("/v1/search", json=body)
    except httpx.HTTPError:
        return Answer(0, question, 0, ())
    if answer.status_code != 200:
        return Answer(answer.status_code, question, 0, ())
    found = answer.json()
    stages = {stage["name"]: stage for stage in found["receipt"]["stages"]}
    ids = tuple(result["id"] for result in found["results"])
    return Answer(200, question, stages["retrieve"]["generation"], ids)


def document(name: str, text: str, title: str = "other") -> dict[str, str]:
    return {"doc_id": name, "title": title, "text": text}


def stable() -> list[dict[str, str]]:
    texts = [" ".join(WORDS[(3 * at + step) % len(WORDS)] for step in range(7)) for at in range(24)]
    return [document(f"stable{at}", f"{text}.", "stable") for at, text in enumerate(texts)]


class Home:
    """A home folder, the environment that configures it, and the commands run on it.

    The service is a process of its own; the commands are run in this one, which
    saves importing everything for each of them.
    """

    def __init__(
        self, folder: Path, dense: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self._capsys = capsys
        self.variables = {
            "WINNOW_ENCODERS__DENSE": dense,
            "WINNOW_ENCODERS__THREADS": "1",
            "WINNOW_RERANK__MODEL": "none",
            "WINNOW_COLLECTION__WATCH_S": "0.1",
            "WINNOW_COLLECTION__IDLE_EXIT_S": "1",
            "WINNOW_INDEXING__READ_WORKERS": "0",
            "OMP_NUM_THREADS": "1",
        }
        for name in os.environ:
            if name.startswith("WINNOW_"):
                monkeypatch.delenv(name)
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)

    def run(self, command: Command, *arguments: str, check: bool = True) -> Any:
        self._capsys.readouterr()
        code = command([*arguments, "--home", str(self.folder)])
        said = self._capsys.readouterr()
        assert not check or code == 0, said.err
        return said


def change(service: ServiceProcess, step: int) -> None:
    """Add one document, change one, delete one."""
    service.index(
        [document("changing", f"The fox jumps {step}."), document(f"added{step}", f"Money {step} flows.")]
    )
    gone = service.client.delete(f"/v1/documents/victim{step}")
    assert gone.status_code == 200, gone.text


def both_sides(home: Home) -> tuple[set[str], set[str]]:
    """The documents in the served generation and in the other one, both as the catalogue has them."""
    settings = load_settings(home=home.folder, indexing={"read_workers": 0})
    sides = []
    with Index.open(settings, with_encoders=False) as index:
        assert index.mirror is not None
        listed = {(one.doc_id, one.version) for one in index.catalog.documents("default", limit=1000)}
        for side in (index, index.mirror):
            batches = side.bridge.iterate(side.collection.scroll, tenant=None)
            points = [point.payload for batch in batches for point in batch]
            assert {(str(body["doc_id"]), str(body["version"])) for body in points} == listed
            assert len(points) == index.catalog.totals().sentences
            sides.append({str(body["doc_id"]) for body in points})
    return sides[0], sides[1]


@pytest.fixture
def home(
    tmp_path: Path,
    encoders: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Home:
    return Home(tmp_path / "home", encoders[0], monkeypatch, capsys)


def test_encoders_change_and_change_back_under_load(home: Home, encoders: tuple[str, str]) -> None:
    with ServiceProcess(home.folder, **home.variables) as service:
        victims = [document(f"victim{step}", f"Dogs {step} sleep.") for step in range(3)]
        service.index([*stable(), *victims, document("changing", "The fox jumps.")])
        before = reference(service.client)
        with Load(service.url) as load:
            home.run(cli.main, "migrate", "start", "--dense", encoders[1])
            change(service, 0)
            assert "were not compared" in home.run(cli.main, "migrate", "switch", check=False).err
            compared = json.loads(home.run(compare, "--json", "--sample", "8").out)
            load.sees(1)
            home.run(cli.main, "migrate", "switch", "--wait-s", "0")
            load.sees(2)
            after = reference(service.client)
            change(service, 1)
            home.run(cli.main, "migrate", "undo", "--wait-s", "0")
            load.sees(1)
            change(service, 2)
            assert reference(service.client) == before
    assert (compared["questions"], compared["served"]["number"], compared["beside"]["number"]) == (8, 1, 2)
    assert 0 <= compared["overlap"] < 1
    assert all(before[question] != after[question] for question in QUESTIONS)
    expected = {1: before, 2: after}
    wrong = [
        one for one in load.answers if one.status != 200 or one.ids != expected[one.generation][one.question]
    ]
    assert wrong == []
    assert order(load.answers) == [1, 2, 1]
    served, other = both_sides(home)
    assert served == other
    assert {"added0", "added1", "added2", "changing"} <= served
    assert not {"victim0", "victim1", "victim2"} & served
    a_restart_and_the_end(home, encoders[1], after)


def a_restart_and_the_end(home: Home, new: str, after: dict[str, tuple[str, ...]]) -> None:
    """Between switch and drop the catalogue says by which encoders to answer, not the configuration."""
    home.run(cli.main, "migrate", "switch")
    with ServiceProcess(home.folder, **home.variables) as service:
        assert reference(service.client) == after
        assert service.client.get("/v1/collection").json()["collection_generation"] == 2
        assert f"encoders.dense = '{new}'" in home.run(cli.main, "migrate", "drop").out
        assert reference(service.client) == after
        service.index([document("last", "The dog jumps.")])
    status = json.loads(home.run(cli.main, "status", "--json").out)
    assert (status["generation"], status["other_generation"], status["consistent"]) == (2, None, True)


def reference(client: httpx.Client) -> dict[str, tuple[str, ...]]:
    found = {question: ask(client, question) for question in QUESTIONS}
    assert {one.status for one in found.values()} == {200}
    assert {len(one.ids) for one in found.values()} == {5}
    return {question: one.ids for question, one in found.items()}


def order(answers: Sequence[Answer]) -> list[int]:
    """The generations in the order they answered; around a switch two threads may overlap."""
    changes: list[int] = []
    for at, answer in enumerate(answers):
        around = {one.generation for one in answers[max(0, at - 4) : at + 5]}
        if len(around) == 1 and changes[-1:] != [answer.generation]:
            changes.append(answer.generation)
    return changes
