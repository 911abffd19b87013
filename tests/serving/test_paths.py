"""Document ids survive the way through a URL."""

from __future__ import annotations

from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st

from serving.paths import canonical_path
from serving.uploads import safe_name

ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(ids)
def test_an_encoded_id_comes_out_as_one_segment(doc_id: str) -> None:
    raw = f"/v1/documents/{quote(doc_id, safe='')}"
    for view in ("", "/text", "/sentences"):
        rest = canonical_path(raw + view).removeprefix("/v1/documents/").removesuffix(view or " ")
        assert "/" not in rest
        assert unquote(rest) == doc_id


@given(ids)
def test_a_safe_name_stays_in_its_folder_and_keeps_its_suffix(name: str) -> None:
    safe = safe_name(name + ".pdf")
    assert "/" not in safe
    assert "\\" not in safe
    assert safe not in ("", ".", "..")
    assert len(safe.encode()) <= 200
    assert safe.endswith(".pdf")
