"""The count of changes: every change of what can be found moves it, by a trigger."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, insert, text, update

from indexing.catalog import open_catalog
from indexing.catalog.schema import documents
from indexing.settings import load_settings

ROW = {
    "tenant": "a",
    "doc_id": "d",
    "version": "v1",
    "state": "staged",
    "title": "t",
    "media_type": "text/plain",
    "source": "s",
    "sentences": 1,
    "chars": 1,
    "embedded": 0,
    "metadata": {},
    "indexed_at": "2024",
    "points": "p",
}


def test_each_change_of_what_is_live_moves_it_and_nothing_else_does(tmp_path: Path) -> None:
    catalog = open_catalog(load_settings(home=tmp_path))
    engine = create_engine(f"sqlite:///{tmp_path / 'catalog.db'}")
    seen = [catalog.revision("a")]
    for statement in (
        insert(documents).values(ROW),
        update(documents).values(embedded=1),
        update(documents).values(state="live"),
        update(documents).values(title="other"),
        update(documents).values(state="retiring"),
        delete(documents),
        insert(documents).values({**ROW, "state": "live"}),
        delete(documents),
    ):
        with engine.begin() as connection:
            connection.execute(statement)
        seen.append(catalog.revision("a"))
    assert seen == [0, 0, 0, 1, 2, 3, 3, 4, 5]
    assert catalog.revision("other") == 0
    catalog.close()


@pytest.mark.parametrize("name", ["insert", "update", "delete"])
def test_a_catalogue_without_the_triggers_gets_them(tmp_path: Path, name: str) -> None:
    settings = load_settings(home=tmp_path)
    open_catalog(settings).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'catalog.db'}")
    with engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER revision_{name}"))
    catalog = open_catalog(settings)
    with engine.begin() as connection:
        for statement in (
            insert(documents).values({**ROW, "state": "live"}),
            update(documents).values(title="x"),
            delete(documents),
        ):
            connection.execute(statement)
    assert catalog.revision("a") == 3
    catalog.close()
