"""The catalogue's tables.

``documents`` has one row per stored version of a document: ``staged`` while
its vectors are being made, ``live`` while it is the one that is searched,
``retiring`` until its points and text are gone.  ``embedded`` counts the
sentences whose points the collection has acknowledged; ``average`` is the BM25
average length that their sparse vectors were made with.  ``ingested_by`` is the
public id of the key whose request brought this version, null for the command line.
``points`` is what the ids of its points begin with: a search's hits bring their ids only.

``blocks`` partition a document's text, so that a window of a long document
reads one or two of them.  ``source_documents.kept`` is false for a document
that a changed source no longer holds: the link is dropped once the source's
new documents are all live.

``generations`` are the collections that hold these documents, made by different
encoders: none is listed before the first migration, then one is ``served`` and
another may stand ``beside`` it.  The progress in ``documents`` is the served
one's; ``mirrored`` has the same columns for the other, and a switch exchanges
the two in one transaction.  ``mirrored.queued``: the document was there when
the migration began, so that its backfill takes care of it.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

# Raised when the tables change; an older Winnow refuses a newer catalogue.
# 2: generations, mirrored.  3: documents.ingested_by.  4: documents.points.
SCHEMA_VERSION = 4

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("doc_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("sentences", Integer, nullable=False),
    Column("chars", Integer, nullable=False),
    Column("terms", Integer),
    Column("embedded", Integer, nullable=False),
    Column("average", Float),
    Column("metadata", JSON, nullable=False),
    Column("indexed_at", Text, nullable=False),
    Column("ingested_by", Text),
    Column("points", Text, nullable=False),
    Index("documents_points", "points", unique=True),
    Index("documents_identity", "tenant", "doc_id", "version", unique=True),
    Index("documents_state", "state", "tenant", "doc_id"),
)

blocks = Table(
    "blocks",
    metadata,
    Column("document", ForeignKey(documents.c.key, ondelete="CASCADE"), primary_key=True),
    Column("first_ordinal", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("spans", LargeBinary, nullable=False),
    Column("pages", LargeBinary),
    Column("sections", JSON, nullable=False),
)

sources = Table(
    "sources",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("uri", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("error", Text, nullable=False),
)

source_documents = Table(
    "source_documents",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("uri", Text, primary_key=True),
    Column("doc_id", Text, primary_key=True),
    Column("kept", Boolean, nullable=False),
    Index("source_documents_document", "tenant", "doc_id", "uri"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("sentences", Integer, nullable=False),
    Column("errors", JSON, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Index("jobs_state", "state", "number"),
    Index("jobs_tenant", "tenant", "number"),
)

generations = Table(
    "generations",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("collection", Text, nullable=False),
    Column("encoders", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("average", Float),
    Column("comparison", JSON),
    Column("trouble", Text, nullable=False),
    Column("created_at", Text, nullable=False),
)

mirrored = Table(
    "mirrored",
    metadata,
    Column("document", ForeignKey(documents.c.key, ondelete="CASCADE"), primary_key=True),
    Column("queued", Boolean, nullable=False),
    Column("source", Text, nullable=False),
    Column("terms", Integer),
    Column("embedded", Integer, nullable=False),
    Column("average", Float),
)

# Its points may be gone in the other generation already: it starts anew there as well.
MIRROR_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS mirrored_again AFTER UPDATE OF state ON documents
WHEN old.state = 'retiring' AND new.state != 'retiring'
BEGIN
  DELETE FROM mirrored WHERE document = new.key;
END
"""

# One count per tenant that moves with every change of what a search can find.
# A trigger, so that no writer can forget it.
REVISION_TRIGGERS = tuple(
    f"""
CREATE TRIGGER IF NOT EXISTS revision_{name} AFTER {event} ON documents
WHEN {condition}
BEGIN
  INSERT INTO meta (key, value) VALUES ('revision:' || {row}.tenant, '1')
  ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1;
END
"""  # noqa: S608 - every part is written here
    for name, event, condition, row in (
        ("insert", "INSERT", "new.state = 'live'", "new"),
        ("update", "UPDATE OF state, source, title, metadata", "'live' IN (old.state, new.state)", "new"),
        ("delete", "DELETE", "old.state = 'live'", "old"),
    )
)
