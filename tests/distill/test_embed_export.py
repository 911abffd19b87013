"""A fine-tuned encoder leaves torch behind: exported, indexed with, and told apart from its base."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from distill.embedding.data import EmbedData
from distill.embedding.job import fine_tune
from distill.embedding.sets import RetrievalSet
from distill.embedding.settings import EmbedSettings
from indexing.encoders.dense import OnnxDenseEncoder
from indexing.encoders.export import ExportOptions, export
from indexing.encoders.sentence_transformer import SentenceTransformerEncoder
from indexing.errors import FingerprintMismatchError
from indexing.ingest import add_paths
from indexing.session import Index
from indexing.settings import Settings, load_settings
from tests.fakes.tiny_models import WORDS, sentence_transformer_folder


def fine_tuned(base: Path, output: Path) -> Path:
    rng = random.Random(1)
    queries = {f"q{at}": " ".join(rng.sample(WORDS, 4)) for at in range(40)}
    corpus = {f"d{at}": " ".join(rng.sample(WORDS, 6)) for at in range(40)}
    relevant = {f"q{at}": {f"d{at}": 1} for at in range(40)}
    data = RetrievalSet("words", queries, corpus, relevant)
    settings = EmbedSettings.model_validate(
        {
            "base": str(base),
            "negatives": {"count": 0},
            "gate": {"min_dev_gain": -1, "min_spread": 0},
            "schedule": {"max_steps": 2, "eval_steps": 2, "batch_size": 8, "threads": 1},
        }
    )
    ids = list(queries)
    cut = EmbedData((data.only(ids[8:]),), (), (data.only(ids[:8]),))
    return fine_tune(settings, cut, output).folder


def settings_for(home: Path, dense: Path) -> Settings:
    return load_settings(
        home=home, encoders={"dense": str(dense), "threads": 1}, collection={"idle_exit_s": 1.0}
    )


def test_trained_exported_indexed_and_refused_by_the_bases_collection(tmp_path: Path) -> None:
    base = sentence_transformer_folder(tmp_path / "tiny", prompts={"query": "the ", "document": "of "})
    trained = fine_tuned(base, tmp_path / "run")
    exported = tmp_path / "exported"
    export(trained, exported, ExportOptions(name="mine"))
    torch_free, library = OnnxDenseEncoder(exported, precision="fp32"), SentenceTransformerEncoder(trained)
    texts = ["the quick brown fox", "bank of the river", "paris"]
    np.testing.assert_allclose(torch_free.encode_queries(texts), library.encode_queries(texts), atol=2e-3)
    assert (
        np.abs(
            torch_free.encode_documents(texts) - SentenceTransformerEncoder(base).encode_documents(texts)
        ).max()
        > 1e-4
    )
    document = tmp_path / "notes.txt"
    document.write_text(
        "The quick brown fox jumps over the lazy dog. Water flows in the river.", encoding="utf-8"
    )
    with Index.open(settings_for(tmp_path / "new", exported)) as index:
        assert add_paths(index, [document]).failures == []
        assert index.bridge(index.collection.info).points == 2
    with Index.open(settings_for(tmp_path / "old", base)) as index:
        add_paths(index, [document])
    # Nothing of the index is loaded before it is needed; this is the first need.
    with (
        Index.open(settings_for(tmp_path / "old", exported)) as index,
        pytest.raises(FingerprintMismatchError, match="python -m indexing reindex"),
    ):
        index.bridge(index.collection.info)
