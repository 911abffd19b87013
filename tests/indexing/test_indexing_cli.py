"""The command line of the index, with stand-ins, and once with the real parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexing import cli
from indexing.collection.protocol import CollectionSpec
from indexing.errors import DamagedShardError
from indexing.session import Index
from indexing.topics import python_topics, topic_extraction
from tests.fakes.index_parts import FakeEncoders, FileCollection, fake_index

ROOT = Path(__file__).parents[2]
RIVERS = "# Rivers\n\nThey carve valleys. They flow.\n\n## Birds\n\nBirds nest there.\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_INDEXING__READ_WORKERS", "0")
    monkeypatch.setattr(Index, "open", lambda settings, *, with_encoders=True: fake_index(settings))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(RIVERS)
    return tmp_path / "home"


@pytest.fixture
def run(home, capsys):
    def call(*arguments):
        code = cli.main(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def rows(text):
    return dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)


def test_commands_are_told_from_paths():
    names = {
        command.name or command.callback.__name__.replace("_", "-") for command in cli.app.registered_commands
    }
    names |= {group.name for group in cli.app.registered_groups}
    assert names == set(cli.COMMANDS)


def test_a_path_alone_is_indexed_and_the_summary_ends_the_run(run):
    code, out, err = run("docs")
    assert (code, err) == (0, "")
    table = rows(out)
    assert (table["files"], table["read"], table["failed"], table["documents"]) == (
        "1",
        "1",
        "0",
        "1 new, 0 retired",
    )
    assert run("--json", "docs")[0] == 0
    assert json.loads(run("add", "docs", "--json")[1])["unchanged"] == 1


def test_a_failed_file_is_named_and_the_exit_code_says_so(run, tmp_path):
    (tmp_path / "docs" / "bad.json").write_text("{")
    code, out, _ = run("docs")
    assert code == 1
    assert rows(out)["failed"] == "1"
    assert f"failed: {tmp_path / 'docs' / 'bad.json'}: " in out
    assert rows(out)["documents"] == "1 new, 0 retired"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 2, "nowhere: no such file or folder"),
        (("docs", "--unit", "page"), 2, "indexing.unit"),
        (("show", "x"), 1, "no document 'x'"),
        (("delete", "x"), 1, "no document 'x'"),
        (("docs", "--nonsense"), 2, "nonsense"),
        (("list", "--limit", "none"), 2, "limit"),
        (("add",), 2, "PATH"),
    ],
)
def test_errors_are_one_clear_line_without_a_traceback(run, arguments, code, message):
    run("docs")
    found, out, err = run(*arguments)
    assert found == code
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_commands_that_only_look_do_not_create_an_index(run, home):
    code, _, err = run("list")
    assert code == 2
    assert "create one with: python -m indexing PATH" in err
    assert not home.exists()


def test_list_show_delete(run, tmp_path):
    run("docs")
    _, out, _ = run("list")
    doc_id, sentences, title, source = out.rstrip("\n").split("\t")
    assert (sentences, title, source) == ("5", "Rivers", str(tmp_path / "docs" / "a.md"))
    _, out, _ = run("show", doc_id)
    assert "  Rivers (3)\n    Birds (2)\n" in out
    assert "[2] 30-40 'They flow.'" in out
    body = json.loads(run("show", doc_id, "--json")[1])
    assert body["sections"] == {"Rivers": 3, "Rivers > Birds": 2}
    assert [RIVERS[s["start"] : s["end"]] == s["text"] for s in body["sentence_list"]] == [True] * 5
    assert run("delete", doc_id) == (0, f"deleted {doc_id}\n", "")
    assert json.loads(run("list", "--json")[1]) == []


def test_status_measures_the_payload_and_sees_a_difference(run, home):
    run("docs")
    body = json.loads(run("status", "--json")[1])
    assert (body["documents"], body["sentences"], body["consistent"]) == (1, 5, True)
    with _collection(home) as collection:
        payloads = [point.payload for point in collection.points()]
        written = sum(
            len(json.dumps(p, ensure_ascii=False, separators=(",", ":")).encode()) for p in payloads
        )
        assert body["payload_bytes_per_raw_byte"] == pytest.approx(
            written / sum(len(p["text"].encode()) for p in payloads), abs=1e-3
        )
        collection._db.execute("DELETE FROM points WHERE rowid = (SELECT max(rowid) FROM points)")
    code, out, _ = run("status")
    assert code == 1
    assert "run: python -m indexing repair" in out


def test_status_of_a_collection_that_does_not_answer(run, monkeypatch):
    run("docs")

    async def fail(*_, **__):
        raise DamagedShardError("the stored shard does not load")

    monkeypatch.setattr(FileCollection, "info", fail)
    code, out, _ = run("status", "--json")
    body = json.loads(out)
    assert (code, body["consistent"], body["documents"]) == (1, False, 1)
    assert body["collection_error"] == "the stored shard does not load; run: python -m indexing repair"


class _collection:
    """The stand-in collection of this home."""

    def __init__(self, home):
        self.collection = FileCollection(home / "points.db", CollectionSpec(8, "", "", True))

    def __enter__(self):
        return self.collection

    def __exit__(self, *_):
        self.collection._db.close()


def test_repair_mends_both_directions(run, home):
    run("docs")
    with _collection(home) as collection:
        before = {point.id: point.payload for point in collection.points()}
        first, second, third, *_ = sorted(before)
        collection._db.execute("DELETE FROM points WHERE id = ?", (first,))
        stray = "00000000-0000-4000-8000-000000000000"
        collection._db.execute(
            "INSERT INTO points SELECT ?, tenant, doc_id, version, payload, dense, sparse "
            "FROM points WHERE id = ?",
            (stray, second),
        )
        moved = json.dumps({**before[third], "source": "elsewhere"})
        collection._db.execute("UPDATE points SET payload = ? WHERE id = ?", (moved, third))
    body = json.loads(run("repair", "--json")[1])
    assert (body["missing"], body["surplus"], body["renamed"]) == (1, 1, 1)
    with _collection(home) as collection:
        assert {point.id: point.payload for point in collection.points()} == before
    body = json.loads(run("repair", "--json")[1])
    assert (body["missing"], body["surplus"], body["renamed"]) == (0, 0, 0)


def test_topics_are_documents_with_sections(run):
    items = python_topics()
    assert len(items) > 50
    assert all(item.extraction.text for item in items)
    extraction = topic_extraction(
        "x", 'The "x" statement\n*****************\n\nText.\n\n   code\n   more\n\nEnd.\n'
    )
    assert [(h.level, h.text) for h in extraction.headings] == [(1, 'The "x" statement')]
    ((start, end),) = extraction.units
    assert extraction.text[start:end].split() == ["code", "more"]
    code, out, _ = run("pydoc", "--json")
    assert (code, json.loads(out)["documents"]) == (0, len(items))
    assert json.loads(run("pydoc", "--json")[1])["unchanged"] == len(items)


def test_queued_jobs_are_run(run, home):
    with fake_index(cli._settings(None)) as index:
        index.catalog.create_job("default", "delete", {"doc_id": "x"}, job_id="d")
    code, out, _ = run("run-jobs")
    assert (code, out) == (0, "1 jobs\n")


def command(*arguments, home, k1="1.2"):
    return subprocess.run(
        [sys.executable, "-m", "indexing", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "WINNOW_HOME": str(home),
            "WINNOW_ENCODERS__THREADS": "1",
            "WINNOW_ENCODERS__BM25_K1": k1,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_imports_nothing_heavy():
    heavy = "numpy sqlalchemy pydantic rich openvino torch llama_index qdrant_client qdrant_edge anyio"
    code = (
        "import sys\nfrom indexing.cli import main\n"
        "assert main(['--help']) == 0\n"
        f"loaded = sorted(set({heavy.split()!r}) & set(sys.modules))\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "run-jobs" in done.stdout


def test_the_real_parts_end_to_end(tmp_path):
    """Index, change of encoders refused, reindex, status: embedded engine and shipped model."""
    (tmp_path / "a.md").write_text(RIVERS)
    home = tmp_path / "home"
    done = command(str(tmp_path / "a.md"), "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sentences"] == 5
    (tmp_path / "b.md").write_text("Another file.")
    refused = command(str(tmp_path), home=home, k1="2.0")
    assert refused.returncode == 1
    assert "python -m indexing reindex" in refused.stderr
    done = command("reindex", "--json", home=home, k1="2.0")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sentences"] == 5, "nothing was read by the run that was refused"
    done = command(str(tmp_path), "--json", home=home, k1="2.0")
    assert (done.returncode, json.loads(done.stdout)["sentences"]) == (0, 1)
    status = json.loads(command("status", "--json", home=home).stdout)
    assert (status["documents"], status["consistent"]) == (2, True)
    assert status["payload_bytes_per_raw_byte"] > 1


def test_a_collection_with_the_ids_of_an_earlier_winnow_is_built_anew(tmp_path):
    """The ids of way 1 say nothing of their sentences: refused, never searched in vain."""
    (tmp_path / "a.md").write_text(RIVERS)
    home = tmp_path / "home"
    assert command(str(tmp_path / "a.md"), home=home).returncode == 0
    description = home / "collections" / "winnow" / "collection.json"
    body = json.loads(description.read_text())
    assert body["spec"].pop("point_ids") == 2
    description.write_text(json.dumps(body))
    (tmp_path / "b.md").write_text("Another file.")
    for arguments in ((str(tmp_path),), ("status",)):
        refused = command(*arguments, home=home)
        assert refused.returncode == 1
        assert "python -m indexing reindex" in " ".join((refused.stdout + refused.stderr).split())
    done = command("reindex", "--json", home=home)
    assert (done.returncode, json.loads(done.stdout)["sentences"]) == (0, 5)
    assert json.loads(command("status", "--json", home=home).stdout)["consistent"] is True


def test_fake_and_real_encoders_share_the_protocol():
    from indexing.encoders.protocols import EncoderPair

    needed = {name for name in vars(EncoderPair) if not name.startswith("_")}
    assert needed <= {name for name in dir(FakeEncoders()) if not name.startswith("_")}


def test_the_public_names_are_there():
    import indexing

    assert [name for name in indexing.__all__ if getattr(indexing, name).__name__ != name] == []
    assert len(indexing.__all__) < 12
    with pytest.raises(AttributeError, match="nonsense"):
        _ = indexing.nonsense
