"""Reranking from stored token vectors: the forward pass's scores without a forward pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from indexing.bridge import Bridge
from indexing.catalog import open_catalog
from indexing.collection.memory import open_memory
from indexing.encoders.token_pair import TokenPair, with_tokens
from indexing.encoders.tokens import TokenEncoder, token_model
from indexing.errors import EncoderError, FingerprintMismatchError, SettingsError
from indexing.ingest import TextItem, add_texts
from indexing.ingest.reconcile import reindex
from indexing.records import Extraction
from indexing.session import Index, spec_of
from indexing.settings import EncoderSettings, RerankSettings, Settings, load_settings
from indexing.status import status_of
from retrieval.late_interaction import ExportedLateInteraction
from retrieval.opening import ModelThread
from retrieval.records import SearchRequest, SearchResponse
from retrieval.rerank import load_folder
from retrieval.reranker import Reranker, RerankScores
from retrieval.search import Searcher
from serving.metrics import Metrics
from serving.reranking import LiveReranker
from tests.fakes.corpus import WordEncoders
from tests.fakes.exported_models import late_interaction_folder

DOCUMENTS = {
    "files": "How do you open a file? You open a file with the function open. The weather was sunny.",
    "bank": "The bank of the river was sunny. Cash flow of the bank was close. You do close the bank.",
    "zh": "公司现金很多。现金流量增加了。",
    "mixed": "How do i close a river? 公司现金很多现金流量增加了。 The function was close all week.",
    "week": "All week i open the bank. Cash was in the file. The river was in flow.",
}
ENGINE = {"idle_exit_s": 0.5}
QUERIES = ("how do i open a file", "cash flow of the bank", "river weather", "close")


def encoders_with(folder: Path) -> TokenPair:
    settings = EncoderSettings(late_interaction=str(folder), precision="fp32")
    return TokenPair(WordEncoders(), TokenEncoder(settings))


class Opened:
    """An index with stored tokens and a searcher that uses them, in the memory home."""

    def __init__(self, home: Path, folder: Path, encoders: TokenPair) -> None:
        self.bridge = Bridge()
        self.encoders = encoders
        self.settings: Settings = load_settings(
            home=home,
            collection={"home": "memory"},
            rerank={"model": str(folder), "precision": "fp32", "max_tokens": 32},
        )
        self.reranker = load_folder(folder, self.settings.rerank)
        self.collection = self.bridge(open_memory, self.settings.collection, spec_of(encoders))
        self.index = Index(
            self.settings,
            open_catalog(self.settings),
            bridge=self.bridge,
            collection=self.collection,
            encoders=encoders,
        )

    def add(self, documents: dict[str, str]) -> None:
        add_texts(
            self.index,
            [
                TextItem(f"mem:{key}", Extraction(text, doc_id=key), "text/plain")
                for key, text in documents.items()
            ],
        )

    def search(
        self, query: str, *, stored: bool = True, reranker: Reranker | None = None, **fields: object
    ) -> SearchResponse:
        """Search with the stored vectors, or with the model itself."""
        models = ModelThread(self.encoders, reranker or self.reranker)
        tokens = models.stored_tokens(self.collection, self.settings.encoders.min_coverage)
        searcher = Searcher(
            self.collection,
            self.index.catalog,
            models.embed_query,
            retrieval=self.settings.retrieval,
            reranking=self.settings.rerank,
            coverage=self.encoders.coverage,
            rerank=models.rerank,
            stored_tokens=tokens if stored else None,
        )
        try:
            return self.bridge(searcher.search, SearchRequest(query, **fields))  # type: ignore[arg-type]
        finally:
            models.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A text's special tokens are in its pooled vector; one window has fewer of them than its sentences.
    return late_interaction_folder(tmp_path_factory.mktemp("m") / "tiny", cosine=0.0, max_tokens=64)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Opened]:
    made = Opened(tmp_path_factory.mktemp("home"), folder, encoders_with(folder))
    made.add(DOCUMENTS)
    yield made
    made.index.close()


def rerank_stage(response: SearchResponse) -> dict[str, object]:
    return dict(next(one for one in response.receipt.stages if one.name == "rerank").details)


@pytest.mark.parametrize("window_size", [0, 1, 2])
@pytest.mark.parametrize("query", QUERIES)
def test_windows_score_as_the_model_scores_them(opened: Opened, query: str, window_size: int) -> None:
    """The tiny model's tokens do not see their neighbours, so the composition must be exact."""
    stored = opened.search(query, window_size=window_size)
    forward = opened.search(query, window_size=window_size, stored=False)
    readable = [one for one in forward.results if one.scores.rerank is not None and one.doc_id != "mixed"]
    assert readable
    by_id = {one.id: one.scores.rerank for one in stored.results}
    for one in readable:
        assert by_id[one.id] == pytest.approx(one.scores.rerank, abs=1e-4)
    assert rerank_stage(stored)["rerank"] == "stored tokens"
    assert rerank_stage(forward)["rerank"] == "on"
    assert rerank_stage(stored)["model"] == rerank_stage(forward)["model"]
    assert not stored.receipt.degraded


def test_what_the_model_cannot_read_keeps_its_place(opened: Opened) -> None:
    plain = opened.search("公司现金 bank", rerank=False)
    stored = opened.search("公司现金 bank")
    assert rerank_stage(stored)["stepped_aside"] == "query"
    assert [one.id for one in stored.results] == [one.id for one in plain.results]
    english = opened.search("bank cash 现金", window_size=0)
    places = [place for place, one in enumerate(english.results) if one.scores.rerank is None]
    fused = opened.search("bank cash 现金", window_size=0, rerank=False)
    assert places
    assert [english.results[place].id for place in places] == [fused.results[place].id for place in places]


def test_another_model_is_not_scored_with_these_vectors(opened: Opened, tmp_path: Path) -> None:
    """A model promoted since: its own forward pass, and the receipt says why."""
    other = late_interaction_folder(tmp_path / "other", name="other", seed=9)
    reranker = load_folder(other, opened.settings.rerank)
    response = opened.search(QUERIES[0], reranker=reranker)
    assert rerank_stage(response)["rerank"] == "on"
    assert "another model" in str(rerank_stage(response)["stored_tokens"])
    forward = opened.search(QUERIES[0], reranker=reranker, stored=False)
    scores = [one.scores.rerank for one in forward.results]
    assert [one.scores.rerank for one in response.results] == pytest.approx(scores, abs=1e-5)


class Broken:
    """A reranker that must not be asked."""

    name, kind, scripts = "broken", "cross-encoder", None

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        raise EncoderError("asked")


def test_no_passage_is_encoded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ExportedLateInteraction, query: str, texts: Sequence[str]) -> RerankScores:
        raise EncoderError("a passage was encoded")

    monkeypatch.setattr(ExportedLateInteraction, "score", refuse)
    assert opened.search(QUERIES[0], stored=False).receipt.degraded
    assert not opened.search(QUERIES[0]).receipt.degraded
    # A cross-encoder never uses them.
    assert opened.search(QUERIES[0], reranker=Broken()).receipt.degraded


def test_feedback_and_the_pooled_vectors(tmp_path: Path) -> None:
    """With the cosine and the second look, the order over whole documents stays the model's."""
    folder = late_interaction_folder(tmp_path / "m", cosine=3.0, max_tokens=64)
    fields = json.loads((folder / "reranker.json").read_text())
    fields["interaction"]["feedback"] = {"weight": 2.0, "sharpness": 0.5}
    (folder / "reranker.json").write_text(json.dumps(fields))
    opened = Opened(tmp_path / "home", folder, encoders_with(folder))
    try:
        assert opened.collection.spec.pooled_dimensions == 16
        opened.add({key: text for key, text in DOCUMENTS.items() if key in ("files", "bank", "week")})
        for query in QUERIES:
            # One sentence a window: then the special tokens are the same, and so is every number.
            stored = opened.search(query, window_size=0)
            forward = opened.search(query, window_size=0, stored=False)
            np.testing.assert_allclose(
                [one.score for one in stored.results], [one.score for one in forward.results], atol=2e-3
            )
    finally:
        opened.index.close()


def test_an_edited_document_keeps_the_vectors_of_its_old_sentences(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(tmp_path, folder, encoders_with(folder))
    seen: list[str] = []
    encode = TokenEncoder.encode

    def counted(self: TokenEncoder, texts: Sequence[str]) -> list[object]:
        seen.extend(texts)
        return encode(self, texts)  # type: ignore[return-value]

    monkeypatch.setattr(TokenEncoder, "encode", counted)
    try:
        opened.add({"bank": DOCUMENTS["bank"]})
        assert len(seen) == 3
        opened.add({"bank": DOCUMENTS["bank"] + " A river do flow."})
        assert seen[3:] == ["A river do flow."]
        assert rerank_stage(opened.search(QUERIES[1]))["rerank"] == "stored tokens"
        rows = [
            row
            for batch in opened.bridge.iterate(opened.collection.scroll, tenant=None, with_vectors=True)
            for row in batch
        ]
        assert len(rows) == 4
        assert all(row.embedding.tokens is not None for row in rows)
    finally:
        opened.index.close()


# ── the encoder ───────────────────────────────────────────────────────────


def test_tokens_are_unit_rows_of_content_and_order_does_not_matter(folder: Path) -> None:
    encoder = encoders_with(folder).tokens
    texts = ["open a file", "the river", "公司现金很多", "", "how do i open a file with the function"]
    made = encoder.encode(texts)
    assert [None if one is None else len(one.tokens) for one in made] == [3, 2, None, None, 9]
    for one in made:
        if one is not None:
            np.testing.assert_allclose(np.linalg.norm(one.tokens, axis=1), 1, rtol=1e-5)
            assert one.pooled is None  # this model's score has no cosine
    backwards = encoder.encode(texts[::-1])[::-1]
    np.testing.assert_allclose(backwards[4].tokens, made[4].tokens, atol=1e-6)
    plain = WordEncoders().embed_documents(texts)
    assert with_tokens(WordEncoders(), texts, plain) == plain


def test_what_changes_a_vector_changes_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    def digest(where: Path, **settings: object) -> str:
        return TokenEncoder(EncoderSettings(late_interaction=str(where), **settings)).fingerprint.digest

    same = digest(folder)
    assert digest(folder, threads=1, runtime="onnxruntime") == same
    assert digest(folder, min_coverage=0.7) != same
    assert digest(late_interaction_folder(tmp_path / "a", cosine=1.0, max_tokens=64)) != same
    assert digest(late_interaction_folder(tmp_path / "b", name="other", cosine=0.0, max_tokens=64)) != same
    reranker = load_folder(folder, RerankSettings(precision="fp32"))
    assert isinstance(reranker, ExportedLateInteraction)
    assert reranker.token_fingerprint(0.5) == same


def test_the_shipped_model_is_auto() -> None:
    encoder = TokenEncoder(EncoderSettings(late_interaction="auto"))
    assert (encoder.dimensions, encoder.pooled_dimensions) == (384, 384)


def test_a_folder_that_is_none_or_of_another_kind_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"late_interaction is .*'auto'"):
        token_model(str(tmp_path / "nowhere"))
    copy = late_interaction_folder(tmp_path / "m")
    fields = json.loads((copy / "reranker.json").read_text())
    fields |= {"kind": "cross-encoder", "interaction": None}
    (copy / "reranker.json").write_text(json.dumps(fields))
    with pytest.raises(SettingsError, match="a cross-encoder: only a late-interaction"):
        token_model(str(copy))


# ── the service's worker, and the whole way through the command's own index ──


def test_the_service_encodes_the_query_in_its_worker(opened: Opened) -> None:
    async def run() -> None:
        live = LiveReranker(opened.settings, Metrics())
        live.load_first()
        live.start()
        stored = live.stored_tokens(opened.collection)
        assert stored is not None
        found = await stored.score("default", QUERIES[0], [])
        assert found is not None
        assert found.logits.shape == (0,)
        scores = await live.score(QUERIES[0], ["open a file", "sunny week"])
        assert scores.logits[0] > scores.logits[1]
        await live.close()

    asyncio.run(run())


def stored_counts(index: Index) -> list[int]:
    """Points, and those with token vectors."""
    pages = index.bridge.iterate(index.collection.scroll, tenant=None, with_vectors=True)
    found = [row.embedding.tokens is not None for page in pages for row in page]
    return [len(found), sum(found)]


def test_the_setting_decides_what_an_index_stores(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off, nothing is different; turned on later, the index is refused until it is built anew."""
    monkeypatch.setattr("indexing.encoders._load_pair", lambda *_: WordEncoders())
    with_it = {"late_interaction": str(folder), "precision": "fp32"}
    for home, encoders in ((tmp_path / "off", {}), (tmp_path / "on", with_it)):
        with Index.open(load_settings(home=home, encoders=encoders, collection=ENGINE)) as index:
            add_texts(index, [TextItem("mem:a", Extraction(DOCUMENTS["bank"], doc_id="a"), "text/plain")])
            assert stored_counts(index) == ([3, 3] if encoders else [3, 0])
            cost = status_of(index)["collection"].get("token_bytes_per_sentence", 0)
            assert (cost > 0) == bool(encoders)
    changed = load_settings(home=tmp_path / "off", encoders=with_it, collection=ENGINE)
    with Index.open(changed) as index:
        with pytest.raises(FingerprintMismatchError, match="python -m indexing reindex"):
            index.check()
        reindex(index)
        assert stored_counts(index) == [3, 3]

    async def ask(settings: Settings) -> SearchResponse:
        async with await Searcher.open(settings) as searcher:
            return await searcher.search(SearchRequest(QUERIES[1]))

    settings = load_settings(
        home=tmp_path / "on",
        encoders=with_it,
        rerank={"model": str(folder), "precision": "fp32"},
        collection=ENGINE,
    )
    response = asyncio.run(ask(settings))
    assert rerank_stage(response)["rerank"] == "stored tokens"
    assert response.results[0].doc_id == "a"
