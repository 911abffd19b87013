"""What a kept turn shows again: passages, flaws, receipt, counts; and files that an earlier version wrote."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retrieval.generation.citations import Flaw
from retrieval.generation.prompts import ContextPassage, Turn
from retrieval.generation.protocol import Usage
from retrieval.records import Answer, Citation, Ranks, Receipt, Scores, SearchResult, Stage
from serving.answering.records import Written
from serving.conversation_schemas import Evidence
from serving.conversations import Conversations
from serving.convert import evidence_of

CITE = Citation("[1]", "doc", "a.md", 3, 10, 14, "Tram")
PASSAGE = ContextPassage(
    "doc", "v1", 0, 20, "Trams run. 电车。", "a.md", "A", "", None, 1, 1, (0, 10), ((0, 3), (11, None))
)
RESULT = SearchResult(
    id="id",
    doc_id="doc",
    source="a.md",
    title="Trams",
    section="A > B",
    page=3,
    text="Trams run.",
    window="Trams run. 电车。",
    start=0,
    end=10,
    score=0.5,
    ranks=Ranks(1, None, 1, None),
    scores=Scores(0.9, None, 0.5, None),
    window_start=0,
    window_end=14,
    highlights=((0, 10),),
    sources=("a.md", "b.md"),
    metadata={"year": 2024},
)
WRITTEN = Written(
    Answer("Trams run on cheese [1].", (CITE,), "generated"),
    (RESULT,),
    Receipt((Stage("embed", 1.25, {"terms": 3}), Stage("generate", 9.0, {"calls": 1})), ("hyde: late",)),
    flaws=(Flaw("not supported", 0, 24, "Trams run on cheese"),),
    usage=Usage(1200, 8, 960, 21.5, 14.25, "replica"),
    turn=Turn("prompt", "reply", (PASSAGE,)),
    model="m",
)

# As version 0.1 made them.
EARLIER = """
CREATE TABLE conversations (id VARCHAR NOT NULL, tenant VARCHAR NOT NULL, title VARCHAR NOT NULL,
  created_at VARCHAR NOT NULL, updated_at VARCHAR NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_conversations_tenant ON conversations (tenant);
CREATE INDEX ix_conversations_updated_at ON conversations (updated_at);
CREATE TABLE turns (conversation_id VARCHAR NOT NULL, ordinal INTEGER NOT NULL, question TEXT NOT NULL,
  answer TEXT NOT NULL, kind VARCHAR NOT NULL, model VARCHAR, citations TEXT NOT NULL, prompt TEXT NOT NULL,
  reply TEXT NOT NULL, passages TEXT NOT NULL, created_at VARCHAR NOT NULL,
  PRIMARY KEY (conversation_id, ordinal),
  FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE);
"""
OLD_PASSAGE = {
    **{"doc_id": "doc", "version": "v1", "start": 0, "end": 10, "text": "Trams run.", "source": "a.md"},
    **{"title": "A", "section": "A > B", "page": 3, "rank": 1, "label": 1},
}
OLD_TURN = "INSERT INTO turns VALUES ('c1', ?, 'How?', 'So [1].', 'generated', 'm', '[]', 'sent', 'So', ?, ?)"


def earlier_file(home: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with closing(sqlite3.connect(home / "conversations.db")) as file:
        file.executescript(EARLIER)
        file.execute("INSERT INTO conversations VALUES ('c1', 'acme', 'How?', ?, ?)", (now, now))
        file.execute(OLD_TURN, (0, json.dumps([OLD_PASSAGE]), now))
        file.commit()


def test_a_turn_keeps_what_its_answer_rests_on(tmp_path: Path) -> None:
    store = Conversations(tmp_path, days=30)
    made = store.create("acme")
    store.append("acme", made.id, "How?", WRITTEN)
    store.close()
    [turn] = Conversations(tmp_path, days=30).turns("acme", made.id)
    assert turn.evidence == evidence_of(WRITTEN)
    kept = turn.evidence
    assert kept is not None
    assert (kept.results[0].window, kept.results[0].metadata) == (RESULT.window, {"year": 2024})
    assert [(one.kind, one.end) for one in kept.flaws] == [("not supported", 24)]
    assert kept.receipt.stages[0].model_dump() == {"name": "embed", "ms": 1.25, "terms": 3}
    assert kept.receipt.degraded == ["hyde: late"]
    assert kept.usage is not None
    assert kept.usage.cached_tokens == 960
    # Bytes that go into the next prompt, and what its citations need.
    [passage] = turn.sent.passages  # type: ignore[union-attr]
    assert passage == PASSAGE
    assert (passage.match, passage.pages) == (PASSAGE.match, PASSAGE.pages)


def test_a_file_of_an_earlier_version_opens_and_goes_on(tmp_path: Path) -> None:
    earlier_file(tmp_path)
    store = Conversations(tmp_path, days=30)
    [old] = store.turns("acme", "c1")
    assert (old.question, old.answer, old.evidence) == ("How?", "So [1].", None)
    assert old.sent == Turn("sent", "So", (ContextPassage(**OLD_PASSAGE),))
    assert store.append("acme", "c1", "And?", WRITTEN) == 1
    store.close()
    again = Conversations(tmp_path, days=30)
    assert [turn.evidence is None for turn in again.turns("acme", "c1")] == [True, False]
    # The earlier version can write to the file still: a rollback loses nothing.
    with closing(sqlite3.connect(tmp_path / "conversations.db")) as file:
        columns = "conversation_id, ordinal, question, answer, kind, model, citations, prompt, reply"
        earlier = OLD_TURN.replace("INTO turns", f"INTO turns ({columns}, passages, created_at)")
        file.execute(earlier, (2, "[]", "2026-01-01"))
        file.commit()
    assert len(again.turns("acme", "c1")) == 3


def test_two_services_may_open_an_old_file_at_once(tmp_path: Path) -> None:
    earlier_file(tmp_path)
    opened: list[Conversations] = []
    threads = [
        threading.Thread(target=lambda: opened.append(Conversations(tmp_path, days=30))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [len(store.turns("acme", "c1")) for store in opened] == [1] * 4


@pytest.mark.parametrize("broken", ["{}", "no json", '{"results": [{"id": 1}]}'])
def test_evidence_that_cannot_be_read_leaves_the_turn(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Conversations(tmp_path, days=30)
    made = store.create("acme")
    store.append("acme", made.id, "How?", WRITTEN)
    with closing(sqlite3.connect(tmp_path / "conversations.db")) as file:
        file.execute("UPDATE turns SET evidence = ?", (broken,))
        file.commit()
    [turn] = store.turns("acme", made.id)
    assert (turn.answer, turn.evidence) == (WRITTEN.answer.text, None)
    assert "evidence_unreadable" in caplog.text


def test_the_schema_of_evidence_survives_json() -> None:
    kept = evidence_of(WRITTEN)
    assert Evidence.model_validate_json(kept.model_dump_json()) == kept
