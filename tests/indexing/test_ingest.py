"""Files to a searchable index: incremental, duplicates, conflicts, prune, drift."""

from __future__ import annotations

import json
import os

import pytest

from indexing.errors import IngestBusyError, InputError, NotFoundError
from indexing.ingest import TextItem, add_paths, add_texts, delete_document, writing
from indexing.ingest.inputs import embedding_input
from indexing.ingest.lock import writer_lock
from indexing.ingest.settle import ids_of
from indexing.records import Extraction, Sentence
from tests.fakes.index_parts import fake_index, fake_settings, words

RIVERS = "Rivers carve valleys. They flow to the sea. Birds nest there."


def texts(index):
    """What is searchable: (source, sentence), from the points."""
    return sorted((point.payload["source"], point.payload["text"]) for point in index.collection.points())


def check_whole(index):
    """Points and catalogue agree, and no vector was made with another average length."""
    live = index.catalog.lifecycle.live()
    assert {point.id for point in index.collection.points()} == {id for doc in live for id in ids_of(doc)}
    assert index.catalog.totals().staged == index.catalog.totals().retiring == 0
    encoders = index.encoders
    lengths = [len(words(text)) for text in inputs(index)]
    stored = float(index.catalog.meta("sparse_average_length"))
    if lengths:
        assert stored == pytest.approx(sum(lengths) / len(lengths), rel=0.1)
    assert encoders.average == stored
    for point in index.collection.points():
        if point.payload["ordinal"]:
            assert point.embedding.sparse.values == pytest.approx(
                encoders._sparse(point.payload["text"]).values
            )


def inputs(index):
    for point in index.collection.points():
        body = point.payload
        yield embedding_input(
            body.get("title", ""), body["text"], Sentence(body["ordinal"], 0, 0, body["text"])
        )


def test_a_second_run_reads_and_encodes_nothing(index, docs):
    (docs / "a.txt").write_text(RIVERS)
    (docs / "b.txt").write_text("Another file. With two sentences.")
    first = add_paths(index, [docs])
    assert (first.files, first.read, first.documents, first.sentences) == (2, 2, 2, 5)
    encoded = list(index.encoders.encoded)
    second = add_paths(index, [docs])
    assert (second.files, second.unchanged, second.read, second.sentences) == (2, 2, 0, 0)
    assert index.encoders.encoded == encoded
    check_whole(index)


def test_payload_has_the_exact_offsets_and_nothing_empty(index, docs):
    (docs / "a.txt").write_text(RIVERS)
    add_paths(index, [docs])
    (record,) = index.catalog.documents("default")
    text = index.catalog.text("default", record.doc_id)
    for point in index.collection.points():
        body = point.payload
        assert text[body["start"] : body["end"]] == body["text"]
        assert set(body) == {"tenant", "doc_id", "version", "ordinal", "start", "end", "text", "source"}
        assert body["source"] == str(docs / "a.txt")


def test_a_changed_file_replaces_its_document_and_reuses_vectors(index, docs):
    (docs / "a.txt").write_text(RIVERS)
    add_paths(index, [docs])
    (old,) = index.catalog.documents("default")
    before = {p.payload["text"]: p.embedding.dense.tobytes() for p in index.collection.points()}
    index.encoders.encoded.clear()
    (docs / "a.txt").write_text(RIVERS.replace("sea", "lake"))
    report = add_paths(index, [docs])
    assert (report.documents, report.retired, report.sentences, report.reused) == (1, 1, 3, 2)
    assert index.encoders.encoded == ["They flow to the lake."]
    (new,) = index.catalog.documents("default")
    assert new.doc_id != old.doc_id
    after = {p.payload["text"]: p.embedding.dense.tobytes() for p in index.collection.points()}
    assert after.pop("They flow to the lake.") != before.pop("They flow to the sea.")
    assert after == before
    check_whole(index)


def test_the_old_version_is_searchable_until_the_new_one_is(index, docs):
    (docs / "a.txt").write_text(RIVERS)
    add_paths(index, [docs])
    (old,) = index.catalog.documents("default")
    seen = []

    def look(name):
        if name in ("staged", "upserted", "recorded"):
            seen.append((name, [record.doc_id for record in index.catalog.documents("default")]))

    index.checkpoint = look
    (docs / "a.txt").write_text("Something else now.")
    add_paths(index, [docs])
    (new,) = index.catalog.documents("default")
    assert seen == [("staged", [old.doc_id]), ("upserted", [old.doc_id]), ("recorded", [new.doc_id])]


def test_duplicates_are_one_document_with_all_sources(index, docs):
    for name in ("b.txt", "a.txt", "c.md"):
        (docs / name).write_text(RIVERS)
    report = add_paths(index, [docs])
    assert (report.files, report.documents, report.sentences) == (3, 1, 3)
    (record,) = index.catalog.documents("default")
    assert record.sources == tuple(str(docs / name) for name in ("a.txt", "b.txt", "c.md"))
    assert {source for source, _ in texts(index)} == {str(docs / "a.txt")}
    (docs / "a.txt").unlink()
    report = add_paths(index, [docs], prune=True)
    assert (report.removed_sources, report.retired) == (1, 0)
    assert {source for source, _ in texts(index)} == {str(docs / "b.txt")}
    index.checkpoint = lambda name: None
    (docs / "b.txt").write_text("No twin any more.")
    add_paths(index, [docs])
    assert len(index.catalog.documents("default")) == 2
    assert {source for source, _ in texts(index)} == {str(docs / "b.txt"), str(docs / "c.md")}
    check_whole(index)


def test_a_moved_file_is_not_encoded_again(index, docs):
    (docs / "a.txt").write_text(RIVERS)
    add_paths(index, [docs])
    index.encoders.encoded.clear()
    (docs / "a.txt").rename(docs / "z.txt")
    report = add_paths(index, [docs], prune=True)
    assert (report.removed_sources, report.retired, index.encoders.encoded) == (1, 0, [])
    assert {source for source, _ in texts(index)} == {str(docs / "z.txt")}
    check_whole(index)


def test_what_is_gone_stays_without_prune_and_only_below_the_roots_with_it(index, docs):
    (docs / "sub").mkdir()
    (docs / "subway").mkdir()
    for name in ("sub/a.txt", "subway/b.txt", "c.txt"):
        (docs / name).write_text(f"File {name} here.")
    add_paths(index, [docs])
    for name in ("sub/a.txt", "subway/b.txt"):
        (docs / name).unlink()
    assert add_paths(index, [docs]).removed_sources == 0
    assert len(index.catalog.documents("default")) == 3
    (docs / "sub").rmdir()
    assert add_paths(index, [docs / "sub"], prune=True).removed_sources == 1
    assert len(index.catalog.documents("default")) == 2
    with pytest.raises(InputError, match="no such file"):
        add_paths(index, [docs / "sub"])
    check_whole(index)


def test_json_lines_keep_their_ids_titles_and_fields(index, docs):
    rows = [
        {"_id": "x", "title": "On rivers", "text": "They flow. They end.", "year": 2021},
        {"_id": "y", "title": "They", "text": "They flow too.", "year": 2022},
    ]
    (docs / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_paths(index, [docs])
    assert [record.doc_id for record in index.catalog.documents("default")] == ["x", "y"]
    assert index.encoders.encoded == ["On rivers. They flow.", "They end.", "They flow too."]
    points = {(p.payload["doc_id"], p.payload["ordinal"]): p.payload for p in index.collection.points()}
    assert points["x", 0]["text"] == "They flow."
    assert points["x", 1]["metadata"] == {"year": 2021}
    check_whole(index)


def test_one_changed_line_changes_one_document(index, docs):
    rows = [{"_id": f"d{n}", "title": "", "text": f"Text {n} of many."} for n in range(20)]
    (docs / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_paths(index, [docs])
    rows[7]["text"] = "Quite another text."
    del rows[9]
    (docs / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    index.encoders.encoded.clear()
    report = add_paths(index, [docs])
    assert (report.documents, report.retired) == (1, 2)
    assert index.encoders.encoded == ["Quite another text."]
    assert len(index.catalog.documents("default")) == 19
    check_whole(index)


def test_one_id_in_two_files_is_a_failure_of_the_later(index, docs):
    (docs / "a.jsonl").write_text('{"_id": "x", "text": "From a."}\n')
    (docs / "b.jsonl").write_text('{"_id": "x", "text": "From b."}\n{"_id": "y", "text": "Only b."}\n')
    report = add_paths(index, [docs])
    ((source, reason),) = report.failures
    assert source == str(docs / "b.jsonl")
    assert "'x'" in reason
    assert str(docs / "a.jsonl") in reason
    assert {text for _, text in texts(index)} == {"From a.", "Only b."}
    assert add_paths(index, [docs]).failures == report.failures, "it is reported again until it is mended"
    (docs / "a.jsonl").write_text('{"_id": "z", "text": "From a."}\n')
    assert add_paths(index, [docs]).failures == []
    assert {text for _, text in texts(index)} == {"From a.", "From b.", "Only b."}
    check_whole(index)


def test_the_same_document_in_two_files_is_no_conflict(index, docs):
    (docs / "a.jsonl").write_text('{"_id": "x", "text": "Same."}\n')
    (docs / "b.jsonl").write_text('{"_id": "x", "text": "Same."}\n{"_id": "y", "text": "More."}\n')
    assert add_paths(index, [docs]).failures == []
    for name in ("a.jsonl", "b.jsonl"):
        path = docs / name
        path.write_text(path.read_text().replace("Same", "Changed in both"))
    assert add_paths(index, [docs]).failures == []
    assert {text for _, text in texts(index)} == {"Changed in both.", "More."}
    check_whole(index)


def test_one_id_twice_in_a_file_is_a_failure(index, docs):
    (docs / "a.jsonl").write_text('{"_id": "x", "text": "One."}\n{"_id": "x", "text": "Two."}\n')
    ((_, reason),) = add_paths(index, [docs]).failures
    assert "earlier in the same file" in reason
    assert {text for _, text in texts(index)} == {"One."}


def test_a_file_that_fails_later_keeps_what_was_indexed(index, docs):
    (docs / "a.json").write_text('{"_id": "x", "text": "Good."}')
    add_paths(index, [docs])
    (docs / "a.json").write_text('{"_id": "x", "text": ')
    (docs / "b.txt").write_text("Also here.")
    report = add_paths(index, [docs])
    assert [source for source, _ in report.failures] == [str(docs / "a.json")]
    assert {text for _, text in texts(index)} == {"Good.", "Also here."}
    check_whole(index)


def test_tenants_do_not_share_documents(index, docs):
    (docs / "a.txt").write_text(RIVERS)
    add_paths(index, [docs], tenant="one")
    add_paths(index, [docs], tenant="two")
    assert len(index.catalog.documents("one")) == len(index.catalog.documents("two")) == 1
    delete_document(index, "one", index.catalog.documents("one")[0].doc_id)
    assert {point.payload["tenant"] for point in index.collection.points()} == {"two"}


def test_drift_of_the_average_length_makes_all_sparse_vectors_again(index, docs):
    (docs / "a.txt").write_text("One two three. Four five six.")
    add_paths(index, [docs])
    assert float(index.catalog.meta("sparse_average_length")) == 3.0
    (docs / "b.txt").write_text("Red blue green.")
    report = add_paths(index, [docs])
    assert (report.reweighed, index.catalog.meta("sparse_average_length")) == (0, "3.0")
    (docs / "c.txt").write_text(" ".join(f"word{n}" for n in range(60)) + ".")
    encoded = len(index.encoders.encoded)
    report = add_paths(index, [docs])
    assert report.reweighed == 3
    assert len(index.encoders.encoded) == encoded + 1, "no dense vector is made again"
    assert float(index.catalog.meta("sparse_average_length")) == pytest.approx(69 / 4)
    check_whole(index)


def test_deleting_and_indexing_again(index, docs):
    (docs / "a.txt").write_text(RIVERS)
    (docs / "d.jsonl").write_text('{"_id": "x", "text": "X."}\n{"_id": "y", "text": "Y."}\n')
    add_paths(index, [docs])
    delete_document(index, "default", "x")
    assert {text for _, text in texts(index)} == {"Y.", *RIVERS.replace(". ", ".|").split("|")}
    with pytest.raises(NotFoundError):
        delete_document(index, "default", "x")
    add_paths(index, [docs])
    assert "X." in {text for _, text in texts(index)}
    check_whole(index)


def test_deleting_while_another_process_writes_hides_the_document_at_once(index, docs, tmp_path):
    (docs / "d.jsonl").write_text('{"_id": "x", "text": "X."}\n')
    add_paths(index, [docs])
    with writer_lock(tmp_path / "home", timeout_s=0):
        delete_document(index, "default", "x")
        assert index.catalog.documents("default") == []
        assert texts(index) != []
        with pytest.raises(IngestBusyError, match=str(os.getpid())), writing(index, timeout_s=0.0):
            pass
    (docs / "d.jsonl").write_text("")
    add_paths(index, [docs])
    assert texts(index) == []


def test_a_document_deleted_while_it_is_encoded_stays_deleted(index, docs):
    (docs / "d.jsonl").write_text('{"_id": "x", "text": "X."}\n{"_id": "y", "text": "Y."}\n')

    def delete(name):
        if name == "embedded":
            index.checkpoint = lambda name: None
            index.catalog.staging.forget_document("default", "x")

    index.checkpoint = delete
    add_paths(index, [docs])
    assert {text for _, text in texts(index)} == {"Y."}


def test_batches_run_across_documents_and_split_long_ones(tmp_path, docs):
    index = fake_index(fake_settings(tmp_path / "home", read_workers=0, batch_sentences=7))
    calls = []
    embed = index.encoders.embed_documents
    index.encoders.embed_documents = lambda texts: calls.append(len(texts)) or embed(texts)
    (docs / "a.txt").write_text(" ".join(f"Sentence number {n} here." for n in range(20)))
    (docs / "b.txt").write_text("Short one. And two.")
    add_paths(index, [docs])
    assert calls == [7, 7, 7, 1]
    check_whole(index)
    index.close()


def test_other_splitting_makes_new_versions(tmp_path, docs):
    (docs / "a.txt").write_text(RIVERS)
    index = fake_index(fake_settings(tmp_path / "home", read_workers=0))
    add_paths(index, [docs])
    index.close()
    index = fake_index(fake_settings(tmp_path / "home", read_workers=0, unit="document"))
    report = add_paths(index, [docs])
    assert (report.documents, report.retired) == (1, 1)
    assert [text for _, text in texts(index)] == [RIVERS]
    check_whole(index)
    index.close()


def test_texts_replace_and_prune_by_prefix(index):
    def item(name, text):
        return TextItem(f"mem:{name}", Extraction(text=text, doc_id=name), "text/plain")

    assert add_texts(index, [item("a", "One."), item("b", "Two.")]).documents == 2
    report = add_texts(index, [item("a", "One.")], prune_prefix="mem:")
    assert (report.unchanged, report.removed_sources, report.retired) == (1, 1, 1)
    assert texts(index) == [("mem:a", "One.")]
    check_whole(index)


def test_ids_that_cannot_be_used_fail_their_file(index, docs):
    (docs / "a.jsonl").write_text(json.dumps({"_id": "x" * 600, "text": "X."}))
    ((_, reason),) = add_paths(index, [docs]).failures
    assert "printable" in reason


@pytest.mark.parametrize(
    ("title", "opening", "ordinal", "expected"),
    [
        ("Rivers", "They flow.", 0, "Rivers. They flow."),
        ("Rivers", "# Rivers\n\nThey flow.", 0, "They flow."),
        ("", "They flow.", 0, "They flow."),
        ("Rivers", "They flow.", 1, "They flow."),
    ],
)
def test_the_title_goes_before_the_first_sentence_only(title, opening, ordinal, expected):
    assert embedding_input(title, opening, Sentence(ordinal, 0, 10, "They flow.")) == expected
