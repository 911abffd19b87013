"""The registry of models: add, promote, roll back, and a kill at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.cli import main
from distill.errors import RegistryError
from distill.model_folder import ModelManifest, write_model_folder
from distill.registry import ModelRegistry
from indexing.errors import EncoderError, SettingsError
from indexing.settings import RerankSettings
from retrieval import registry as reading
from retrieval.registry import chosen_model, promoted_model, read_pointer
from tests.fakes.exported_models import late_interaction_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    base = tmp_path_factory.mktemp("folders")
    return [late_interaction_folder(base / name, name=name, seed=seed) for seed, name in enumerate("abc")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_promote_and_roll_back_follow_a_stack(home, folders):
    registry = ModelRegistry(home)
    assert promoted_model(home) is None
    first, second, third = (registry.add(folder) for folder in folders)
    registry.promote(first)
    registry.promote(second)
    assert promoted_model(home) == home / "models" / second
    assert registry.rollback().model == first
    registry.promote(third)
    assert registry.rollback().model == first
    assert registry.rollback().model is None
    assert promoted_model(home) is None
    with pytest.raises(RegistryError, match="nothing to roll back"):
        registry.rollback()
    history = registry.pointer().history
    assert [(one.action, one.model, one.previous) for one in history] == [
        ("promote", first, None),
        ("promote", second, first),
        ("rollback", first, second),
        ("promote", third, first),
        ("rollback", first, third),
        ("rollback", None, first),
    ]


def test_the_same_content_is_added_once_and_another_gets_another_name(home, folders, tmp_path):
    registry = ModelRegistry(home)
    first = registry.add(folders[0])
    assert registry.add(folders[0]) == first
    other = late_interaction_folder(tmp_path / "again", name="a", seed=99)
    assert registry.add(other) != first
    assert first.startswith("a-")
    assert len(registry.models()) == 2


def test_an_exported_formula_is_content(home, tmp_path):
    registry = ModelRegistry(home)
    ids = {
        registry.add(late_interaction_folder(tmp_path / str(maxsim), name="m", maxsim=maxsim))
        for maxsim in (1.0, 2.0)
    }
    assert len(ids) == 2


def test_what_the_service_cannot_run_is_refused(home, folders, tmp_path):
    registry = ModelRegistry(home)
    (tmp_path / "none").mkdir()
    with pytest.raises(RegistryError, match="distill export"):
        registry.add(tmp_path / "none")
    student = tmp_path / "student"
    student.mkdir()
    (student / "model.safetensors").write_bytes(b"weights")
    write_model_folder(student, ModelManifest(kind="late-interaction", name="s", base="b", max_tokens=64))
    with pytest.raises(RegistryError, match="exported form"):
        registry.add(student)
    added = registry.add(folders[0])
    with (home / "models" / added / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RegistryError, match="differs from its hash"):
        registry.promote(added)
    assert registry.models()[0].trouble
    assert promoted_model(home) is None
    with pytest.raises(RegistryError, match="no model"):
        registry.promote("../../etc")


def test_a_pointer_that_is_damaged_or_dangles_is_an_error(home, folders):
    registry = ModelRegistry(home)
    added = registry.add(folders[0])
    registry.promote(added)
    (home / "models" / added).rename(home / "models" / "elsewhere")
    with pytest.raises(EncoderError, match="rollback"):
        promoted_model(home)
    (home / "models" / "current.json").write_text('{"model": "../x"}')
    with pytest.raises(EncoderError, match="not a pointer"):
        read_pointer(home)


def test_auto_takes_the_promoted_model_then_the_shipped_one_then_none(home, folders, tmp_path, monkeypatch):
    auto = RerankSettings()
    monkeypatch.setattr(reading, "SHIPPED", tmp_path / "absent")
    assert auto.model == "auto"
    assert chosen_model(auto, home) is None
    monkeypatch.setattr(reading, "SHIPPED", folders[2])
    assert chosen_model(auto, home) == folders[2]
    registry = ModelRegistry(home)
    registry.promote(registry.add(folders[0]))
    assert chosen_model(auto, home) == promoted_model(home) != folders[2]
    assert chosen_model(RerankSettings(model="none"), home) is None
    assert chosen_model(RerankSettings(model=str(folders[1])), home) == folders[1]
    with pytest.raises(SettingsError, match="'auto', 'none'"):
        chosen_model(RerankSettings(model="BAAI/bge-reranker-v2-m3"), home)


def test_the_command_line(home, folders, capsys):
    at = ["--home", str(home)]
    names = []
    for folder in folders[:2]:
        assert main(["models", "add", str(folder), *at]) == 0
        names.append(capsys.readouterr().out.strip())
    assert main(["models", "promote", names[0], *at]) == 0
    assert main(["models", "promote", names[0], *at]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["models", "promote", names[1], *at]) == 0
    assert main(["models", "list", "--json", *at]) == 0
    listed = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    assert {one["id"]: one["promoted"] for one in listed["models"]} == {names[0]: False, names[1]: True}
    assert main(["models", "rollback", *at]) == 0
    assert names[0] in capsys.readouterr().out
    assert main(["models", "list", *at]) == 0
    assert names[1] in capsys.readouterr().out


_LOOP = """
import sys
from pathlib import Path
from distill.registry import ModelRegistry
registry = ModelRegistry(Path(sys.argv[1]))
names = [registry.add(Path(folder)) for folder in sys.argv[2:]]
print("ready", flush=True)
while True:
    for name in names:
        registry.promote(name)
        registry.add(Path(sys.argv[2]))
    registry.rollback()
"""


def test_a_kill_at_any_moment_leaves_a_pointer_to_a_whole_model(home, folders):
    seed = int.from_bytes(os.urandom(4))
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    for _ in range(3):
        command = [sys.executable, "-c", _LOOP, str(home), *map(str, folders)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.0, 0.2))
            process.send_signal(signal.SIGKILL)
        found = promoted_model(home)
        assert found is not None
        assert ModelRegistry(home).folder_of(found.name) == found
    registry = ModelRegistry(home)
    registry.rollback()  # takes the lock of the dead and sweeps what they left
    assert not list((home / "models").glob(".incoming-*"))
    assert not any(one.trouble for one in registry.models())
