from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.node_parser import SentenceWindowNodeParser
from llama_index.core.schema import Document, MetadataMode

from indexing.identity import point_id, version_of
from indexing.records import Extraction, Heading
from indexing.sentences import sentences_of
from indexing.window_parser import ORIGINAL_TEXT_KEY, WINDOW_KEY, window_nodes, window_parser

REPORT = Extraction(
    text="Report\nI said No. No. 他说：“好。”然后走了。\n\nRow. 1\tRow. 2\nNo.\nEnd",
    headings=(Heading(0, 1, "Report"),),
    pages=(0, 21),
    units=((35, 49),),
)


def test_the_parser_is_llamaindexs():
    assert isinstance(window_parser(), SentenceWindowNodeParser)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["No.", "I said No.", "是。", "x", "\n\n", " ", "Dr. Who.", "- a\n", "```\n"]),
        max_size=20,
    ).map("".join)
)
def test_ingest_and_parser_give_the_same_sentences_ids_and_offsets(text):
    extraction = Extraction(text=text)
    nodes = window_nodes(extraction, tenant="t", doc_id="d", version="v")
    assert [(node.node_id, node.text, node.start_char_idx, node.end_char_idx) for node in nodes] == [
        (point_id("t", "d", "v", s.ordinal), s.text, s.start, s.end) for s in sentences_of(extraction)
    ]


def test_headings_units_and_pages_go_through_the_parser():
    nodes = window_nodes(REPORT, doc_id="d", version="v", max_chars=500)
    sentences = sentences_of(REPORT, max_chars=500)
    assert [node.text for node in nodes] == [s.text for s in sentences]
    assert [node.metadata["section"] for node in nodes] == [s.section for s in sentences]
    assert [node.metadata["page"] for node in nodes] == [s.page for s in sentences]
    assert "Row. 1\tRow. 2" in [node.text for node in nodes]
    assert all(REPORT.text[node.start_char_idx : node.end_char_idx] == node.text for node in nodes)


def test_nothing_but_the_sentence_reaches_an_embedding():
    for node in window_nodes(REPORT, doc_id="d", version="v"):
        assert node.get_content(metadata_mode=MetadataMode.EMBED) == node.text


def test_the_window_holds_the_neighbours_symmetrically():
    nodes = window_nodes(
        Extraction(text="One. Two. Three. Four. Five."), doc_id="d", version="v", window_size=1
    )
    assert [node.metadata[WINDOW_KEY] for node in nodes][1:3] == ["One. Two. Three.", "Two. Three. Four."]
    assert nodes[1].metadata[ORIGINAL_TEXT_KEY] == "Two."


def test_node_ids_survive_a_second_parse_and_name_the_version():
    document = Document(text="One. Two.", id_="d")
    ids = [node.node_id for node in window_parser(tenant="t").get_nodes_from_documents([document])]
    version = version_of(Extraction(text="One. Two."), 1)
    assert ids == [point_id("t", "d", version, ordinal) for ordinal in range(2)]
    again = [Document(text="Other.", id_="e"), document]
    nodes = window_parser(tenant="t").get_nodes_from_documents(again)
    assert [node.node_id for node in nodes if node.ref_doc_id == "d"] == ids


@pytest.mark.parametrize("window_size", [1, 4])
def test_ids_do_not_depend_on_the_window(window_size):
    nodes = window_nodes(REPORT, doc_id="d", version="v", window_size=window_size)
    assert [node.node_id for node in nodes] == [
        point_id("default", "d", "v", ordinal) for ordinal in range(len(nodes))
    ]


def test_no_previous_and_next_links_are_stored():
    for node in window_nodes(REPORT, doc_id="d", version="v"):
        assert node.prev_node is None
        assert node.next_node is None
