"""Student folders: what is written is read back, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import RegistryError
from distill.model_folder import (
    ModelManifest,
    TrainingRecord,
    is_model_folder,
    read_model_folder,
    write_model_folder,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "student"
    (made / "1_Dense").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "1_Dense" / "model.safetensors").write_bytes(b"projection")
    (made / "config.json").write_text('{"model_type": "bert"}')
    (made / "README.md").write_text("a text")
    return made


def manifest() -> ModelManifest:
    return ModelManifest(
        kind="late-interaction",
        name="tiny",
        base="all-MiniLM-L6-v2",
        scripts=("Latin",),
        max_tokens=64,
        training=TrainingRecord(data="abc", lists=3, queries=2, recipe={"loss": "ranknet"}, seed=7, steps=9),
        teachers=({"teacher": "gpt-x"},),
        metrics={"dev": {"ndcg@10": 0.5}},
        licence="apache-2.0",
    )


def test_what_is_written_is_read_back(folder):
    assert not is_model_folder(folder)
    written = write_model_folder(folder, manifest())
    assert read_model_folder(folder) == written
    assert set(written.files) == {"model.safetensors", "1_Dense/model.safetensors", "config.json"}
    assert written.model_copy(update={"files": {}}) == manifest()
    assert is_model_folder(folder)


def test_texts_may_change_and_weights_may_not(folder):
    write_model_folder(folder, manifest())
    (folder / "README.md").write_text("another text")
    (folder / "LICENSE").write_text("terms")
    read_model_folder(folder)
    (folder / "1_Dense" / "model.safetensors").write_bytes(b"projectioN")
    with pytest.raises(RegistryError, match="differs from its hash"):
        read_model_folder(folder)


def test_unknown_and_missing_files_are_refused(folder):
    write_model_folder(folder, manifest())
    (folder / "extra.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"extra\.json"):
        read_model_folder(folder)
    (folder / "extra.json").unlink()
    (folder / "config.json").unlink()
    with pytest.raises(RegistryError, match="missing"):
        read_model_folder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "1_Dense/weights.pt", "optimizer.pkl"])
def test_pickles_are_refused_at_any_depth(folder, name):
    (folder / name).write_bytes(b"\x80\x04")
    with pytest.raises(RegistryError, match="run code"):
        write_model_folder(folder, manifest())


def test_remote_code_links_and_folders_without_weights_are_refused(folder, tmp_path):
    (folder / "config.json").write_text('{"auto_map": {}}')
    with pytest.raises(RegistryError, match="auto_map"):
        write_model_folder(folder, manifest())
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").symlink_to(tmp_path)
    with pytest.raises(RegistryError, match="link"):
        write_model_folder(folder, manifest())
    with pytest.raises(RegistryError, match="not a folder"):
        write_model_folder(tmp_path / "none", manifest())
    (tmp_path / "empty").mkdir()
    with pytest.raises(RegistryError, match="safetensors"):
        write_model_folder(tmp_path / "empty", manifest())


def test_a_manifest_that_is_none_is_refused(folder):
    with pytest.raises(RegistryError, match="cannot be read"):
        read_model_folder(folder)
    (folder / "model.json").write_text('{"format": 1}')
    with pytest.raises(RegistryError, match="not a manifest"):
        read_model_folder(folder)


def test_a_path_that_leaves_the_folder_is_never_opened(folder, tmp_path):
    (tmp_path / "outside").write_bytes(b"x")
    written = write_model_folder(folder, manifest())
    files = {**written.files, "../outside": "0" * 64}
    (folder / "model.json").write_text(written.model_copy(update={"files": files}).model_dump_json())
    with pytest.raises(RegistryError, match="missing"):
        read_model_folder(folder)
