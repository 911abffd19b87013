"""May a fine-tuned encoder be saved: not below its base on dev, nor far below it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distill.embedding.dev import Look
from distill.embedding.search import NDCG
from distill.embedding.settings import EmbedGateSettings
from distill.errors import GateError

_WORST = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One set before and after, mean NDCG@10, and the queries that lost, worst first."""

    name: str
    domain: str
    queries: int
    before: float
    after: float
    worse: tuple[tuple[str, float], ...]

    @property
    def difference(self) -> float:
        return self.after - self.before


def changes(before: Look, after: Look, domain: str) -> list[Change]:
    """Return the change of each set that both looks measured."""
    found = []
    for name, measures in before.scores.items():
        old, new = measures[NDCG], after.scores[name][NDCG]
        lost = sorted((new[one] - old[one], one) for one in old if new[one] < old[one])
        found.append(
            Change(
                name,
                domain,
                len(old),
                before.mean(name=name),
                after.mean(name=name),
                tuple((one, loss) for loss, one in lost),
            )
        )
    return found


def check(
    dev: tuple[Look, Look], outside: tuple[Look, Look] | None, settings: EmbedGateSettings
) -> list[Change]:
    """Return the changes of all sets, dev first; pairs are ``(before, after)``.

    Raises:
        GateError: dev gained too little over all its queries, or a set outside
            the domain lost too much; it names the queries that got worse.
    """
    found = changes(*dev, "in domain")
    faults = []
    gain = dev[1].mean() - dev[0].mean()
    if gain < settings.min_dev_gain:
        faults.append(
            f"on dev NDCG@10 went from {dev[0].mean():.4f} to {dev[1].mean():.4f}, and "
            f"gate.min_dev_gain is {settings.min_dev_gain}; worse: {_worst(found)}"
        )
    for one in changes(*outside, "out of domain") if outside is not None else ():
        found.append(one)
        if -one.difference > settings.max_out_of_domain_drop:
            faults.append(
                f"on {one.name} NDCG@10 went from {one.before:.4f} to {one.after:.4f}, and "
                f"gate.max_out_of_domain_drop is {settings.max_out_of_domain_drop}; worse: {_worst([one])}"
            )
    if faults:
        raise GateError("the fine-tuned encoder is not saved: " + "; ".join(faults))
    return found


def as_fields(found: list[Change]) -> Mapping[str, object]:
    """Return the changes as the manifest's ``metrics``."""
    return {
        one.name: {
            "domain": one.domain,
            "queries": one.queries,
            "ndcg@10": {"before": round(one.before, 4), "after": round(one.after, 4)},
            "worse": len(one.worse),
        }
        for one in found
    }


def _worst(found: list[Change]) -> str:
    lost = sorted((loss, query_id) for one in found for query_id, loss in one.worse)
    named = ", ".join(f"{query_id} ({loss:+.3f})" for loss, query_id in lost[:_WORST])
    return f"{named or 'none'}{' and more' if len(lost) > _WORST else ''}"
