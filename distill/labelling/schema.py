"""The label store's tables.

A label belongs to a teacher (whose row stands for its id *and* its prompt's
hash) and to the texts themselves: ``query``, ``passage`` and ``list`` are the
first 16 bytes of SHA-256 over the exact text, so the same pair under another
id is the same label.  A listwise label belongs to the set of its passages:
``list`` hashes their keys in ascending order, and ``scores`` follow that order.

``answers`` has one row per call of the teacher, written in the transaction of
its labels: what a label cost is never lost and never counted twice.
``generations`` keeps the queries that a language model wrote for a passage.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy import UniqueConstraint as Unique

# Raised when the tables change; an older Winnow refuses a newer store.
SCHEMA_VERSION = 1

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

teachers = Table(
    "teachers",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("card", JSON, nullable=False),
    Column("golden", JSON),
    Column("golden_at", Text),
    Unique("id", "prompt"),
)

answers = Table(
    "answers",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("teacher", ForeignKey(teachers.c.key), nullable=False),
    Column("passages", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("repairs", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("at", Text, nullable=False),
)

pairs = Table(
    "pairs",
    metadata,
    Column("teacher", ForeignKey(teachers.c.key), primary_key=True),
    Column("query", LargeBinary(16), primary_key=True),
    Column("passage", LargeBinary(16), primary_key=True),
    Column("score", Float, nullable=False),
    Column("answer", ForeignKey(answers.c.key), nullable=False),
    sqlite_with_rowid=False,
)

lists = Table(
    "lists",
    metadata,
    Column("teacher", ForeignKey(teachers.c.key), primary_key=True),
    Column("query", LargeBinary(16), primary_key=True),
    Column("list", LargeBinary(16), primary_key=True),
    Column("scores", JSON, nullable=False),
    Column("answer", ForeignKey(answers.c.key), nullable=False),
    sqlite_with_rowid=False,
)

generations = Table(
    "generations",
    metadata,
    Column("model", Text, primary_key=True),
    Column("prompt", Text, primary_key=True),
    Column("passage", LargeBinary(16), primary_key=True),
    Column("answer", Text, nullable=False),
    Column("at", Text, nullable=False),
    sqlite_with_rowid=False,
)
