from __future__ import annotations

import dataclasses
import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import InputError
from indexing.identity import file_doc_id, point_id, point_prefix, prefix_of, split_point_id, version_of
from indexing.records import Extraction, Heading

PART = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\x1f"), max_size=12)


@given(PART, PART, PART, st.integers(0, 2**32 - 1))
def test_a_point_id_is_a_uuid8_that_says_its_document_and_ordinal(tenant, doc_id, version, ordinal):
    identity = point_id(tenant, doc_id, version, ordinal)
    parsed = uuid.UUID(identity)
    assert (str(parsed), parsed.version, parsed.variant) == (identity, 8, uuid.RFC_4122)
    assert split_point_id(identity) == (point_prefix(tenant, doc_id, version), ordinal)
    assert prefix_of(identity) == point_prefix(tenant, doc_id, version)


def test_a_documents_ids_follow_its_ordinals():
    ids = [point_id("t", "d", "v", ordinal) for ordinal in (0, 9, 10, 99, 100, 65_536)]
    assert ids == sorted(ids)


@pytest.mark.parametrize("ordinal", [-1, 2**32])
def test_an_ordinal_out_of_range_is_refused(ordinal):
    with pytest.raises(InputError, match="ordinal is a number from 0 to 4294967295"):
        point_id("t", "d", "v", ordinal)


def test_point_ids_are_golden():
    """A change here orphans every collection there is."""
    assert point_id("default", "report", "0123456789abcdef", 0) == "cda58f22-626a-88c3-a260-bd3500000000"
    assert point_id("默认", "文档", "0123456789abcdef", 12) == "e65901e1-6890-8d32-a5c7-0e100000000c"


@given(st.tuples(PART, PART, PART, st.integers(0, 10**6)), st.tuples(PART, PART, PART, st.integers(0, 10**6)))
def test_different_sentences_have_different_ids(one, other):
    assert (point_id(*one) == point_id(*other)) == (one == other)


@pytest.mark.parametrize("parts", [("a\x1fb", "c", "v"), ("a", "b\x1fc", "v"), ("a", "b", "\x1f")])
def test_a_separator_inside_a_part_is_refused(parts):
    with pytest.raises(InputError, match="U\\+001F"):
        point_id(*parts, 0)


def test_an_id_that_is_no_text_is_refused():
    with pytest.raises(InputError, match="not valid Unicode"):
        point_id("t", "broken \ud800", "v", 0)


BASE = Extraction(
    text="One. Two.",
    title="Title",
    headings=(Heading(0, 1, "One"),),
    pages=(0, 5),
    units=((0, 4),),
    metadata={"year": 2021, "lang": "en"},
)

CHANGES = [
    {"text": "One. Two!"},
    {"title": "Other"},
    {"headings": (Heading(0, 2, "One"),)},
    {"headings": ()},
    {"pages": (0,)},
    {"units": ((0, 3),)},
    {"metadata": {"year": 2022, "lang": "en"}},
    {"metadata": {"year": "2021", "lang": "en"}},
    {"metadata": {"year": 2021.0, "lang": "en"}},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_version_changes_with_everything_that_is_indexed(change):
    assert version_of(dataclasses.replace(BASE, **change), 1) != version_of(BASE, 1)


def test_version_changes_with_the_pipeline_and_its_splitting():
    versions = {version_of(BASE, 1), version_of(BASE, 2), version_of(BASE, 1, splitting="document")}
    assert len(versions) == 3


def test_version_does_not_depend_on_the_documents_id_or_the_order_of_metadata():
    same = dataclasses.replace(BASE, doc_id="x", metadata={"lang": "en", "year": 2021})
    assert version_of(same, 1) == version_of(BASE, 1)


def test_version_is_golden_and_16_hex_digits():
    assert version_of(BASE, 1) == "6b4803179fe8b30f"


def test_a_text_with_lone_surrogates_still_has_a_version():
    assert len(version_of(Extraction(text="a \ud800 b"), 1)) == 16


def test_file_doc_id_is_half_the_sha256():
    digest = hashlib.sha256(b"content").hexdigest()
    assert file_doc_id(digest) == digest[:32] == file_doc_id(digest.upper())


@pytest.mark.parametrize("digest", ["", "ab", "g" * 64, "0" * 63])
def test_file_doc_id_refuses_what_is_no_sha256(digest):
    with pytest.raises(InputError, match="64 hex"):
        file_doc_id(digest)
