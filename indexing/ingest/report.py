"""What an ingest run says: events while it works, counts at its end."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Protocol

from indexing.errors import kind_of


class Progress(Protocol):
    """Told what the run does; a terminal draws it, a job stores it."""

    def stage(self, name: str, total: int, unit: str) -> None:
        """A stage begins: ``total`` steps, counted in ``unit``."""
        ...

    def advance(self, steps: int) -> None: ...

    def committed(self) -> None:
        """Documents became searchable."""
        ...

    def message(self, text: str) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total: int, unit: str) -> None:
        del name, total, unit

    def advance(self, steps: int) -> None:
        del steps

    def committed(self) -> None:
        pass

    def message(self, text: str) -> None:
        del text


@dataclass(slots=True)
class IngestReport:
    """One run in numbers.

    ``skipped`` counts what the scan left out, by suffix (".png") or kind
    ("hidden"); ``failures`` are pairs of source and reason, ``kinds`` says which
    error each source met, in words ("damaged-file").  ``documents``,
    ``sentences`` count what became searchable in this run, ``reused`` those
    sentences whose dense vector was taken over from an older version.
    """

    files: int = 0
    unchanged: int = 0
    read: int = 0
    removed_sources: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    documents: int = 0
    retired: int = 0
    sentences: int = 0
    reused: int = 0
    reweighed: int = 0
    seconds: float = 0.0

    def failed(self, source: str, reason: str, error: BaseException) -> None:
        """Note a source that could not be read."""
        self.failures.append((source, reason))
        self.kinds[source] = kind_of(error)

    def include(self, other: IngestReport) -> None:
        """Add what another run did."""
        for name in (one.name for one in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            if name == "skipped":
                theirs = {kind: mine.get(kind, 0) + count for kind, count in theirs.items()}
            setattr(self, name, {**mine, **theirs} if isinstance(mine, dict) else mine + theirs)

    @property
    def rate(self) -> float:
        """Sentences per second over the whole run."""
        return self.sentences / self.seconds if self.seconds > 0 else 0.0
