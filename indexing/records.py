"""The values that travel between the rooms: frozen, typed, free of behaviour.

Character offsets are offsets into the document's extracted text (Python
``str`` indices, i.e. Unicode code points), half open: ``text[start:end]``.
Ordinals count sentences of one document from 0.  Ranks count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar]
FloatArray = npt.NDArray[np.float32]
Mode = Literal["hybrid", "dense", "sparse"]

DEFAULT_TENANT = "default"
NO_PAYLOAD: Mapping[str, object] = MappingProxyType({})
NO_METADATA: Metadata = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in the extracted text; ``level`` 1 is the outermost."""

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a reader makes of one document.

    Attributes:
        text: the whole extracted text; every offset below points into it.
        title: the document's own title, or "" when it has none.
        doc_id: the id the document brings itself (``_id`` of a JSON line);
            None when the id is to be derived from the file's bytes.
        headings: in reading order, offsets ascending.
        pages: ``pages[i]`` is the offset at which page ``i + 1`` begins;
            empty for formats without pages.
        units: spans, ascending and disjoint, that the sentence splitter keeps
            whole: table rows, code blocks, formulas.
        metadata: further fields that a filter can use.
    """

    text: str
    title: str = ""
    doc_id: str | None = None
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    units: tuple[tuple[int, int], ...] = ()
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a document: what is embedded, stored and cited."""

    ordinal: int
    start: int
    end: int
    text: str
    section: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term weights: ``indices`` strictly ascending uint32, ``values`` finite."""

    indices: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """What a late-interaction model keeps of one text.

    ``tokens``: ``(n_tokens, dimensions)``, at least one row, rows of unit
    length, special tokens left out.  ``pooled``: ``(dimensions,)``, the sum over
    all tokens divided by the model's longest input, so that the pooled vector of
    several sentences is the sum of theirs; None when the model's score has no
    use for it.
    """

    tokens: FloatArray
    pooled: FloatArray | None


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vectors of one text.

    ``dense`` is None when the dense encoder does not know the text's script;
    ``sparse`` may be empty (a sentence of stop words only); ``tokens`` is None
    where none are stored, or the model does not know the script.
    """

    dense: FloatArray | None
    sparse: SparseVector
    tokens: TokenVectors | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One row of the collection: an id, its vectors, its payload."""

    id: str
    embedding: Embedding
    payload: Mapping[str, object]


class Hit(NamedTuple):
    """A point found by one side of a search, best first, ``rank`` from 1.

    ``payload`` is empty where the search did not ask for it.  A tuple: every
    search makes a hundred of them.
    """

    id: str
    score: float
    rank: int
    payload: Mapping[str, object] = NO_PAYLOAD


@dataclass(frozen=True, slots=True)
class SideHits:
    """What each side of one search returned, and how long the engine took.

    ``without_dense`` names the sparse hits that have no dense vector; None
    where the engine does not know them all.
    """

    dense: Sequence[Hit]
    sparse: Sequence[Hit]
    engine_ms: float
    without_dense: frozenset[str] | None = None
