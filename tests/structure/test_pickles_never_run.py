"""A pickle in a model folder never runs, whatever loads the folder: a canary in each would leave a file.

Every kind of folder gets every file below, beside its weights and instead of
them.  It loads without opening the pickle, or it is refused with an error of
ours; where pickles are all there is, only the refusal is right.
"""

from __future__ import annotations

import contextlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill.export import export_model
from distill.model_folder import ModelManifest, write_model_folder
from distill.registry import ModelRegistry
from distill.students.bases import base_folder
from indexing.encoders import load_encoders
from indexing.encoders.convert import convert
from indexing.encoders.export import ExportOptions, export
from indexing.errors import EncoderError, WinnowError
from indexing.settings import EncoderSettings, RerankSettings
from retrieval.export import export as export_reranker
from retrieval.rerank import load_folder
from tests.fakes.cross_encoder import build_cross_encoder
from tests.fakes.exported_models import late_interaction_folder
from tests.fakes.tiny_models import Canary, bge_m3_folder, sentence_transformer_folder, splade_folder

# Names that one library or another opens by itself.
PICKLES = (
    "pytorch_model.bin",
    "model.pt",
    "model.pth",
    "model.ckpt",
    "weights.pkl",
    "sparse_linear.pt",
    "colbert_linear.pt",
    "training_args.bin",
    "optimizer.pt",
    "vocab.npy",
    "1_Pooling/pytorch_model.bin",
    "data.PICKLE",
)


def cross_encoder(folder: Path) -> Path:
    return build_cross_encoder(folder)


def bge_m3(folder: Path) -> Path:
    convert(bge_m3_folder(folder.with_name(folder.name + "-upstream")), folder)
    return folder


def student(folder: Path) -> Path:
    build_cross_encoder(folder)
    manifest = ModelManifest(kind="cross-encoder", name="tiny", base="tiny", max_tokens=48)
    write_model_folder(folder, manifest)
    return folder


def dense_exported(folder: Path) -> Path:
    source = sentence_transformer_folder(folder.with_name(folder.name + "-source"))
    export(source, folder, ExportOptions())
    return folder


def encoders(folder: Path, **fields: object) -> object:
    return load_encoders(EncoderSettings.model_validate(fields))


def reranker(backend: str) -> Callable[[Path, Path], object]:
    settings = RerankSettings.model_validate({"backend": backend, "max_tokens": 48})
    return lambda folder, _: load_folder(folder, settings)


def register(folder: Path, home: Path) -> object:
    registry = ModelRegistry(home)
    return registry.promote(registry.add(folder))


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path, Path], object]]] = {
    "dense": (sentence_transformer_folder, lambda folder, _: encoders(folder, dense=str(folder))),
    "dense exported": (dense_exported, lambda folder, _: encoders(folder, dense=str(folder))),
    "dense export": (sentence_transformer_folder, lambda folder, out: export(folder, out, ExportOptions())),
    "SPLADE": (splade_folder, lambda folder, _: encoders(folder, sparse=str(folder))),
    "BGE-M3": (bge_m3, lambda folder, _: encoders(folder, dense=str(folder), sparse=str(folder))),
    "BGE-M3 sparse": (bge_m3, lambda folder, _: encoders(folder, sparse=str(folder))),
    "BGE-M3 reranker": (bge_m3, reranker("bge-m3")),
    "cross-encoder": (cross_encoder, reranker("sentence-transformers")),
    "FlagEmbedding": (cross_encoder, reranker("flag-embedding")),
    "cross-encoder export": (cross_encoder, lambda folder, out: export_reranker(folder, out)),
    "reranker exported": (late_interaction_folder, reranker("auto")),
    "base of a student": (cross_encoder, lambda folder, _: base_folder(str(folder))),
    "student": (student, reranker("auto")),
    "registry": (student, register),
    "registry, exported": (late_interaction_folder, register),
    "student export": (student, lambda folder, out: export_model(folder, out)),
}


def plant(folder: Path, canary: Path, name: str, *, zipped: bool) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if zipped:
        torch.save(Canary(canary), path)
    else:
        path.write_bytes(pickle.dumps(Canary(canary)))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One sound folder per builder, to be copied."""
    base = tmp_path_factory.mktemp("sound")
    builders = {builder.__name__: builder for builder, _ in KINDS.values()}
    return {name: builder(base / name) for name, builder in builders.items()}


def test_the_canary_runs_where_it_is_unpickled(tmp_path: Path) -> None:
    for name, zipped in (("raw.pkl", False), ("zip.pt", True)):
        canary = tmp_path / f"{name}.ran"
        plant(tmp_path, canary, name, zipped=zipped)
        load = torch.load if zipped else None
        if load is not None:
            load(tmp_path / name, weights_only=False)
        else:
            pickle.loads((tmp_path / name).read_bytes())
        assert canary.exists(), "a canary that cannot sing proves nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_folder_loads(kind: str, sound: dict[str, Path], tmp_path: Path) -> None:
    build, load = KINDS[kind]
    assert load(sound[build.__name__], tmp_path / "out") is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_beside_the_weights_never_runs(kind: str, sound: dict[str, Path], tmp_path: Path) -> None:
    build, load = KINDS[kind]
    canary = tmp_path / "ran"
    folder = shutil.copytree(sound[build.__name__], tmp_path / "folder")
    for number, name in enumerate(PICKLES):
        plant(folder, canary, name, zipped=bool(number % 2))
    with contextlib.suppress(WinnowError):  # either is safe; another error is none of ours
        assert load(folder, tmp_path / "out") is not None
    assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_instead_of_the_weights_is_refused(
    kind: str, sound: dict[str, Path], tmp_path: Path
) -> None:
    build, load = KINDS[kind]
    for zipped in (False, True):
        canary = tmp_path / f"ran-{zipped}"
        folder = shutil.copytree(sound[build.__name__], tmp_path / f"folder-{zipped}")
        for weights in [*folder.rglob("*.safetensors"), *folder.rglob("*.onnx")]:
            weights.unlink()
        plant(folder, canary, "pytorch_model.bin", zipped=zipped)
        with pytest.raises(WinnowError):
            load(folder, tmp_path / f"out-{zipped}")
        assert not canary.exists()


@pytest.mark.parametrize("kind", ["dense", "SPLADE", "cross-encoder", "FlagEmbedding", "dense export"])
def test_an_index_that_names_a_pickle_as_a_shard_is_no_way_in(
    kind: str, sound: dict[str, Path], tmp_path: Path
) -> None:
    """``model.safetensors.index.json`` may name any file; another safetensors file makes it look sound."""
    build, load = KINDS[kind]
    canary = tmp_path / "ran"
    folder = shutil.copytree(sound[build.__name__], tmp_path / "folder")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    plant(folder, canary, "pytorch_model.bin", zipped=True)
    (folder / "model.safetensors.index.json").write_text(
        '{"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "pytorch_model.bin"}}'
    )
    with pytest.raises(WinnowError):
        load(folder, tmp_path / "out")
    assert not canary.exists()


def test_the_upstream_layout_of_bge_m3_is_converted_without_running_its_pickles(tmp_path: Path) -> None:
    upstream = bge_m3_folder(tmp_path / "upstream")
    settings = EncoderSettings(dense=str(upstream), sparse=str(upstream))
    with pytest.raises(EncoderError, match=r"python -m indexing\.encoders\.convert"):
        load_encoders(settings)
    for name in ("pytorch_model.bin", "sparse_linear.pt", "colbert_linear.pt"):
        canary = tmp_path / f"{name}.ran"
        poisoned = shutil.copytree(upstream, tmp_path / f"poisoned-{name}")
        plant(poisoned, canary, name, zipped=True)
        with pytest.raises(EncoderError):
            convert(poisoned, tmp_path / f"converted-{name}")
        assert not canary.exists()
    converted = tmp_path / "converted"
    assert convert(upstream, converted)
    assert not [path for path in converted.rglob("*") if path.suffix in (".bin", ".pt")]


def test_weights_that_differ_from_their_hash_are_refused(sound: dict[str, Path], tmp_path: Path) -> None:
    for number, kind in enumerate(("dense exported", "reranker exported", "registry")):
        build, load = KINDS[kind]
        folder = shutil.copytree(sound[build.__name__], tmp_path / str(number))
        weights = next(path for path in folder.rglob("*") if path.suffix in (".onnx", ".safetensors"))
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        with pytest.raises(WinnowError, match="hash"):
            load(folder, tmp_path / f"out-{number}")
