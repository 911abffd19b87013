"""The checks themselves: from what a teacher said to passed or not, with the numbers.

Each function takes the observations and the bounds and returns one check;
they are told apart by what they can see, so a fault usually fails several.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator

from distill.golden.pairs import GOLDEN
from distill.golden.probe import Observations
from distill.golden.report import GoldenCheck
from distill.golden.settings import GoldenBounds
from distill.records import Scale


def answered(seen: Observations, bounds: GoldenBounds) -> GoldenCheck:
    """Every call gave one finite score a passage."""
    problems = []
    for asked in seen.calls:
        if asked.answer is None:
            problems.append(asked.error or "no answer")
        elif len(asked.answer.scores) != len(asked.passages):
            problems.append(f"{len(asked.answer.scores)} scores for {len(asked.passages)} passages")
        elif not all(math.isfinite(score) for score in asked.answer.scores):
            problems.append("a score that is not a finite number")
    share = len(problems) / len(seen.calls)
    first = f", the first: {problems[0]}" if problems else ""
    detail = f"{len(problems)} of {len(seen.calls)} calls gave no label{first}"
    return GoldenCheck("answers", share <= bounds.max_failed_share, detail)


def scale(seen: Observations, promised: Scale) -> GoldenCheck:
    """The scores are what the card says they are."""
    said = {asked.answer.scale for asked in seen.calls if asked.answer}
    values = [score for asked in seen.calls for score in asked.scores.values()]
    if said != {promised}:
        return GoldenCheck("scale", False, f"the card says {promised}, the answers {', '.join(sorted(said))}")
    inside = sum(0.0 <= value <= 1.0 for value in values)
    detail = f"{promised}, from {min(values):.4g} to {max(values):.4g}"
    if promised == "probability" and inside < len(values):
        return GoldenCheck("scale", False, f"{detail}: {len(values) - inside} outside 0 to 1")
    if promised == "logit" and inside == len(values):
        return GoldenCheck("scale", False, f"{detail}: all inside 0 to 1, so probabilities, not logits")
    if promised == "rank":
        ranks = [sorted(asked.scores.values(), reverse=True) for asked in seen.calls if asked.scores]
        wrong = sum(one != [-float(rank) for rank in range(1, len(one) + 1)] for one in ranks)
        return GoldenCheck("scale", not wrong, f"{wrong} of {len(ranks)} lists are no permutation")
    return GoldenCheck("scale", True, detail)


def spread(seen: Observations, bounds: GoldenBounds) -> GoldenCheck:
    """The scores differ, over all pairs and within a query."""
    values = [score for asked in seen.first for score in asked.scores.values()]
    deviation = statistics.pstdev(values)
    flat = sum(len(set(asked.scores.values())) == 1 for asked in seen.first if asked.scores)
    passed = deviation >= bounds.min_spread and flat <= len(seen.first) / 4
    detail = (
        f"standard deviation {deviation:.4g} (at least {bounds.min_spread:g}), "
        f"{flat} of {len(seen.first)} queries with one score for all passages"
    )
    return GoldenCheck("not constant", passed, detail)


def right_pairs(seen: Observations, bounds: GoldenBounds, language: str) -> GoldenCheck:
    """Relevant above irrelevant in one language; says where it is the other way round."""
    margins = [margin for found, _, margin in _margins(seen) if found == language]
    share = _share(margins)
    detail = f"{share:.2f} of {len(margins)} relevant above irrelevant (at least {bounds.min_right:g})"
    if share <= 1.0 - bounds.min_right:
        detail += ": swapped, yes and no (or the sign) seem to be exchanged"
    return GoldenCheck(f"relevance {language}", share >= bounds.min_right, detail)


def exchanged(seen: Observations, bounds: GoldenBounds) -> GoldenCheck:
    """A passage scores higher for its own query than a neighbour's: the query is read."""
    margins = [margin for _, kind, margin in _margins(seen) if kind == "exchanged"]
    share = _share(margins)
    detail = f"{share:.2f} of {len(margins)} right (at least {bounds.min_exchanged_right:g})"
    if abs(share - 0.5) < 0.15:
        detail += ": about half, as of a score that does not depend on the query"
    return GoldenCheck("reads the query", share >= bounds.min_exchanged_right, detail)


def not_floored(seen: Observations, bounds: GoldenBounds) -> GoldenCheck:
    """Few passages share exactly the lowest or the highest score."""
    values = [score for asked in seen.first for score in asked.scores.values()]
    counts = Counter(values)
    problems = []
    for name, value in (("lowest", min(values)), ("highest", max(values))):
        share = counts[value] / len(values)
        # Whole numbers such as -10 are what a missing token is replaced by; three of them are no accident.
        placed = value == round(value) and abs(value) >= 5 and counts[value] >= 3
        if share > bounds.max_share_at_end or placed:
            problems.append(f"{counts[value]} of {len(values)} scores are exactly the {name}, {value:g}")
    detail = "; ".join(problems) or f"{counts[min(values)]} of {len(values)} at the lowest score"
    return GoldenCheck("not floored", not problems, detail)


def order_shift(seen: Observations, bounds: GoldenBounds) -> GoldenCheck:
    """Pointwise: the same passage in another batch has the same score."""
    values = [score for asked in seen.first for score in asked.scores.values()]
    deviation = statistics.pstdev(values)
    before = {asked.query.query_id: asked.scores for asked in seen.first}
    shifts = [
        abs(score - before[asked.query.query_id][name])
        for asked in seen.again
        for name, score in asked.scores.items()
        if name in before[asked.query.query_id]
    ]
    # Nothing to compare is no proof of order.
    largest = max(shifts, default=math.inf) / deviation if deviation else math.inf
    detail = (
        f"largest change in another order {largest:.3g} standard deviations of {len(shifts)} scores "
        f"(at most {bounds.max_order_shift:g})"
    )
    return GoldenCheck("order does not matter", bool(shifts) and largest <= bounds.max_order_shift, detail)


def order_agreement(seen: Observations, bounds: GoldenBounds) -> GoldenCheck:
    """Listwise: a list and its reverse are ranked alike."""
    before = {asked.query.query_id: asked.scores for asked in seen.first}
    taus = [
        kendall_tau(before[asked.query.query_id], asked.scores)
        for asked in seen.again
        if asked.scores and before[asked.query.query_id]
    ]
    mean = statistics.fmean(taus) if taus else -1.0
    detail = f"mean Kendall's tau of a list and its reverse {mean:.2f} (at least {bounds.min_order_tau:g})"
    return GoldenCheck("order does not matter", mean >= bounds.min_order_tau, detail)


def mended(seen: Observations, bounds: GoldenBounds) -> GoldenCheck:
    """Listwise: most answers were permutations as they came."""
    repairs = sum(asked.answer.repairs for asked in seen.calls if asked.answer)
    calls = sum(asked.answer.calls for asked in seen.calls if asked.answer)
    share = repairs / max(calls, 1)
    detail = f"{repairs} of {calls} answers had to be mended (at most {bounds.max_mended_share:g})"
    return GoldenCheck("permutations", share <= bounds.max_mended_share, detail)


def reads_to_the_end(seen: Observations, bounds: GoldenBounds, *, listwise: bool) -> GoldenCheck:
    """Passages that differ in their last sentence alone are told apart, whichever comes first."""
    rights = [margin for _, _, margin in _margins(seen) if margin > 0]
    needed = 0.0 if listwise else bounds.min_tail_margin * (statistics.median(rights) if rights else math.inf)
    lost = []
    for tail, *both in seen.tails:
        margins = [
            asked.scores[tail.relevant.doc_id] - asked.scores[tail.other.doc_id]
            for asked in both
            if asked.scores
        ]
        if tail.language in bounds.languages and (not margins or min(margins) <= needed):
            shown = f"{min(margins):.3g}" if margins else "none"
            lost.append(f"{tail.language} margin {shown}, needed more than {needed:.3g}")
    detail = f"answers after {bounds.tail_words} words: " + ("; ".join(lost) or "found")
    return GoldenCheck("reads to the end", not lost, detail + (": cut off?" if lost else ""))


def kendall_tau(one: dict[str, float], other: dict[str, float]) -> float:
    """Return Kendall's tau-a over the names both have; -1 to 1, ties count as neither."""
    names = sorted(one.keys() & other.keys())
    pairs = [(a, b) for index, a in enumerate(names) for b in names[index + 1 :]]
    agreed = sum(_sign(one[a] - one[b]) * _sign(other[a] - other[b]) for a, b in pairs)
    return agreed / len(pairs) if pairs else 0.0


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _share(margins: list[float]) -> float:
    # A tie is not right: a constant teacher must not pass on half of them.
    return sum(margin > 0 for margin in margins) / len(margins) if margins else 0.0


def _margins(seen: Observations) -> Iterator[tuple[str, str, float]]:
    """Language, ``hard`` or ``exchanged``, and the relevant passage's score less the other's."""
    for golden, asked in zip(GOLDEN, seen.first, strict=True):
        scores = asked.scores
        for name, score in scores.items():
            if name != golden.name:
                kind = "hard" if name.endswith("-hard") else "exchanged"
                yield golden.language, kind, scores[golden.name] - score
