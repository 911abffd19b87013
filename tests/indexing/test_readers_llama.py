from __future__ import annotations

from pathlib import Path

import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.schema import MetadataMode

from indexing.errors import DamagedFileError
from indexing.readers import read_file
from indexing.readers.llama import WinnowReader, file_extractor
from tests.fakes.files import MAX_BYTES, SAMPLES, docx_bytes


def test_documents_carry_structure_and_leak_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(docx_bytes())
    (found,) = WinnowReader().load_data(path, extra_info={"team": "x"})
    (extraction,) = read_file(path, max_bytes=MAX_BYTES)
    assert found.text == extraction.text
    assert found.metadata["title"] == "Annual report"
    assert found.metadata["team"] == "x"
    assert found.metadata["file_name"] == "a.docx"
    assert found.metadata["headings"][0] == [0, 1, "Annual report 2021"]
    assert found.get_content(MetadataMode.EMBED) == extraction.text
    assert found.get_content(MetadataMode.LLM) == extraction.text


def test_in_a_simple_directory_reader(tmp_path: Path) -> None:
    for suffix in (".pdf", ".docx", ".html", ".jsonl"):
        (tmp_path / f"a{suffix}").write_bytes(SAMPLES[suffix]())
    found = SimpleDirectoryReader(tmp_path, file_extractor=file_extractor(), raise_on_error=True).load_data()
    by_name = {(document.metadata["file_name"], document.id_): document for document in found}
    assert len(by_name) == len(found) == 5
    for document in found:
        assert document.get_content(MetadataMode.EMBED) == document.text
    assert ("a.jsonl", "1") in by_name


def test_ids_are_the_same_on_every_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    first = [document.id_ for document in WinnowReader().load_data(path)]
    assert first == [document.id_ for document in WinnowReader().load_data(path)]
    assert len(set(first)) == 2


def test_errors_are_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-nothing")
    with pytest.raises(DamagedFileError):
        WinnowReader().load_data(path)
