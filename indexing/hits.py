"""Hits as the engine process sends them: an id is sixteen bytes until somebody looks at it.

A search fetches a hundred hits and shows ten.  Making a hundred ids into text,
sending and reading them, and a record for each, took as long as the fusion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from indexing.identity import id_of_key, prefix_of_key
from indexing.records import NO_PAYLOAD, Hit


class PackedHits(Sequence[Hit]):
    """One side's hits in columns, best first; :class:`Hit` objects are made when they are looked at.

    Args:
        keys: the ids, as :func:`indexing.identity.key_of_id` packs them; they
            sort as the ids do.
        scores: one a key.
        payloads: one a key; None where the search asked for none.
    """

    __slots__ = ("keys", "payloads", "scores")

    def __init__(
        self,
        keys: Sequence[bytes],
        scores: Sequence[float],
        payloads: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.keys = keys
        self.scores = scores
        self.payloads = payloads

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> list[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | list[Hit]:
        if isinstance(index, slice):
            return [self._hit(place) for place in range(len(self.keys))[index]]
        return self._hit(range(len(self.keys))[index])

    def __repr__(self) -> str:
        return f"PackedHits({list(self)!r})"

    def _hit(self, place: int) -> Hit:
        payload = NO_PAYLOAD if self.payloads is None else self.payloads[place]
        return Hit(id_of_key(self.keys[place]), self.scores[place], place + 1, payload)

    def documents(self) -> list[bytes]:
        """Return what the hits' ids begin with: the same for all sentences of one document."""
        return [prefix_of_key(key) for key in self.keys]
