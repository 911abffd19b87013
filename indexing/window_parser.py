"""LlamaIndex's SentenceWindowNodeParser over our splitter, our ids and exact offsets.

Ingest takes its sentences from ``indexing.sentences`` directly, and a test
proves that this parser gives the same sentences, ids and offsets.  Measured on
1,356 report paragraphs (2,620 sentences), one core: 138 microseconds a sentence
through the parser against 35 directly (ratio 3.8; the rest goes into node
objects and window metadata, which we build at query time instead), and 2.4 s to
import LlamaIndex, which a command on an unchanged folder need not wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llama_index.core.node_parser import SentenceWindowNodeParser
from llama_index.core.schema import BaseNode, Document, TextNode

from indexing.identity import point_id, version_of
from indexing.records import DEFAULT_TENANT, Extraction
from indexing.sentences import sentences_of, split_sentences

WINDOW_KEY = "window"
ORIGINAL_TEXT_KEY = "original_text"


class ExactWindowNodeParser(SentenceWindowNodeParser):
    """The stock parser, with offsets that stay right when a sentence repeats.

    The stock one looks for a node's text from one character after the start of
    the node before it, so in "I said No. No." the second sentence is found
    inside the first.  Sentences are disjoint and only white space lies between
    them: looking from the end of the one before finds the right place.
    """

    @classmethod
    def class_name(cls) -> str:
        return "ExactWindowNodeParser"

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]
    ) -> list[BaseNode]:
        nodes = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        ends: dict[str, int] = {}
        for node in nodes:
            document = parent_doc_map.get(node.ref_doc_id or "")
            if document is None or not isinstance(node, TextNode):
                continue
            start = document.text.index(node.text, ends.get(document.id_, 0))
            node.start_char_idx = start
            node.end_char_idx = ends[document.id_] = start + len(node.text)
        return nodes


def window_parser(
    *,
    tenant: str = DEFAULT_TENANT,
    window_size: int = 3,
    max_chars: int = 2000,
    extraction: Extraction | None = None,
    version: str | None = None,
    pipeline_version: int = 1,
) -> SentenceWindowNodeParser:
    """Return a SentenceWindowNodeParser that cuts, names and places sentences as Winnow does.

    Args:
        tenant: part of every node's id.
        window_size: sentences on each side in the node's window metadata.
        max_chars: longest sentence.
        extraction: where the one document to parse has its headings, pages and
            units; without it the parser takes any plain text.
        version: of the document; computed from its text when not given.
        pipeline_version: enters that computation.
    """

    def split(text: str) -> list[str]:
        layout = extraction if extraction is not None else Extraction(text=text)
        spans = split_sentences(
            text, units=layout.units, headings=layout.headings, pages=layout.pages, max_chars=max_chars
        )
        return [text[start:end] for start, end in spans]

    return ExactWindowNodeParser.from_defaults(
        sentence_splitter=split,
        window_size=window_size,
        window_metadata_key=WINDOW_KEY,
        original_text_metadata_key=ORIGINAL_TEXT_KEY,
        include_prev_next_rel=False,
        id_func=_id_function(tenant, version, pipeline_version),
    )


def window_nodes(
    extraction: Extraction,
    *,
    tenant: str = DEFAULT_TENANT,
    doc_id: str,
    version: str,
    window_size: int = 3,
    max_chars: int = 2000,
) -> list[TextNode]:
    """Return a document's sentences as LlamaIndex nodes with section, page and window.

    Section and page are kept out of what an embedding or a language model sees.
    """
    parser = window_parser(
        tenant=tenant, window_size=window_size, max_chars=max_chars, extraction=extraction, version=version
    )
    nodes = parser.get_nodes_from_documents([Document(text=extraction.text, id_=doc_id)])
    return _placed(nodes, extraction, max_chars)


def _placed(nodes: Sequence[BaseNode], extraction: Extraction, max_chars: int) -> list[TextNode]:
    placed: list[TextNode] = []
    for node, sentence in zip(nodes, sentences_of(extraction, max_chars=max_chars), strict=True):
        if not isinstance(node, TextNode):
            continue
        place: dict[str, str | int] = {"ordinal": sentence.ordinal}
        if sentence.section:
            place["section"] = sentence.section
        if sentence.page is not None:
            place["page"] = sentence.page
        node.metadata.update(place)
        node.excluded_embed_metadata_keys.extend(place)
        node.excluded_llm_metadata_keys.extend(place)
        placed.append(node)
    return placed


def _id_function(tenant: str, version: str | None, pipeline_version: int) -> Callable[[int, BaseNode], str]:
    known: dict[str, str] = {}  # the document being parsed: its version is one hash, not one a sentence

    def identify(ordinal: int, document: BaseNode) -> str:
        if version is not None:
            return point_id(tenant, document.node_id, version, ordinal)
        if document.node_id not in known:
            known.clear()
            known[document.node_id] = version_of(Extraction(text=document.get_content()), pipeline_version)
        return point_id(tenant, document.node_id, known[document.node_id], ordinal)

    return identify
