"""Into service, past the gate: a model that is worse than the one in service is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from pydantic import JsonValue

from distill.errors import GateError
from distill.gate import Domain, GateReport, GateSet, GateSettings, compare
from distill.gate_sets import RerankerScorer, labelled_file
from distill.layouts import Layout
from distill.registry import ModelRegistry
from indexing.errors import InputError
from indexing.settings import RerankSettings
from retrieval.registry import Change, chosen_model
from retrieval.rerank import load_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GateData:
    """Labelled files that both models order; ``inside``: like the training data, ``outside``: not."""

    inside: Sequence[Path] = ()
    outside: Sequence[Path] = ()
    layout: str = "labels"

    def sets(self) -> list[GateSet]:
        """Return the files as sets of the gate.

        Raises:
            InputError: an unknown layout, or a file that does not fit it.
        """
        if self.layout not in get_args(Layout):
            raise InputError(f"layout {self.layout!r} is not known; accepted: {', '.join(get_args(Layout))}")
        layout = cast(Layout, self.layout)
        domains: list[tuple[Domain, Sequence[Path]]] = [("in", self.inside), ("out", self.outside)]
        return [labelled_file(path, layout, domain) for domain, paths in domains for path in paths]


def promote(
    registry: ModelRegistry,
    settings: RerankSettings,
    name: str,
    *,
    data: GateData | None = None,
    bounds: GateSettings | None = None,
    force: bool = False,
) -> Change:
    """Promote ``name`` and return what the history keeps.

    With ``data`` the model must pass the gate against the one in service;
    ``force`` promotes it all the same, and the history keeps both facts.  The
    first model has nothing to be compared with.

    Raises:
        GateError: it is worse; the message names the queries.
        RegistryError: there is no such model, or it is promoted already.
        InputError: the gate's data cannot be used.
    """
    folder = registry.folder_of(name)
    sets = data.sets() if data is not None else []
    if not sets:
        return registry.promote(name, forced=force)
    before = chosen_model(settings.model_copy(update={"model": "auto"}), registry.home)
    if before is None:
        log.warning("no model is in service, so there is nothing to compare %s with", name)
        return registry.promote(name, gate={"skipped": "no model was in service"}, forced=force)
    sides = [RerankerScorer(load_folder(one, settings)) for one in (before, folder)]
    report = compare(sides[0], sides[1], sets, bounds)
    if not report.passed and not force:
        try:
            report.require()
        except GateError as error:
            raise GateError(f"{error}; --force promotes it all the same") from error
    return registry.promote(name, gate=_record(before, report), forced=force and not report.passed)


def _record(before: Path, report: GateReport) -> dict[str, JsonValue]:
    """What the history keeps of a comparison: the figures, and the refusals that were overruled."""
    sets: list[JsonValue] = [
        {
            "name": one.name,
            "domain": one.domain,
            "queries": one.queries,
            "before": dict(one.before),
            "after": dict(one.after),
            "refusal": one.refusal,
        }
        for one in report.sets
    ]
    record: dict[str, JsonValue] = {"against": before.name, "passed": report.passed, "sets": sets}
    # A figure that JSON cannot hold would make the pointer unreadable.
    json.dumps(record, allow_nan=False)
    return record
