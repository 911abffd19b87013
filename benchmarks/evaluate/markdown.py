"""``report.md``: the same result for people, in English or Chinese."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.evaluate.compare import Change
from benchmarks.evaluate.labels import LABELS, Language
from benchmarks.evaluate.measure import MEASURES, Row
from benchmarks.evaluate.result import AFTER, BEFORE, MEASURE, SetResult, group_means

_ALPHA = 0.05


def markdown(results: Sequence[SetResult], facts: dict[str, Any], lang: Language, plot: str) -> str:
    """Return the report; ``facts`` is :func:`benchmarks.evaluate.result.as_json`'s provenance."""
    words = LABELS[lang]
    lines = [f"# {words['title']}", ""]
    lines += [f"- **{one.pooled.name}**: {_verdict(one.change(MEASURE), words)}" for one in results]
    for heading, missing, inside in (("in_domain", "none_in", True), ("out_of_domain", "none_out", False)):
        lines += ["", f"## {words[heading]}", ""]
        chosen = [one for one in results if one.pooled.in_domain is inside]
        lines += [words[missing]] if not chosen else []
        for one in chosen:
            lines += _set(one, words)
    lines += ["", f"![{words['changes']}]({plot})", "", f"## {words['how']}", ""]
    relevant = sorted({one.pooled.relevant_from for one in results})
    lines += [words["method"].format(relevant=", ".join(map(str, relevant))), "", *_facts(facts, words)]
    return "\n".join(lines) + "\n"


def p_text(p: float) -> str:
    """Return a p-value for reading; 10,000 rounds cannot show less than .0001.

    >>> p_text(0.00009999), p_text(0.0412)
    ('< .0001', '.0412')
    """
    return "< .0001" if p < 0.0001 else f"{p:.4f}".replace("0.", ".", 1)


def _set(result: SetResult, words: dict[str, str]) -> list[str]:
    pooled = result.pooled
    sizes = [len(pooled.pools.get(one, ())) for one in pooled.queries]
    described = words["set"].format(
        name=pooled.name,
        checksum=pooled.checksum,
        queries=len(pooled.queries),
        candidates=sum(sizes) / len(sizes),
        stage=pooled.first_stage,
        recall=pooled.pool_recall,
    )
    lines = [f"### {pooled.name}", "", described, "", f"#### {words['changes']}", ""]
    lines += _changes(result.changes, words)
    lines += ["", f"#### {words['rows']}", "", *_rows(result.rows, words)]
    for row in result.rows:
        if row.report.unanswered:
            lines += ["", words["unanswered"].format(name=row.name, count=len(row.report.unanswered))]
    for key, values in result.groups().items():
        lines += ["", f"#### {words['groups'].format(key=key, measure=MEASURE)}", ""]
        lines += _groups(result, key, values, words)
    lines += ["", f"#### {words['most_changed'].format(measure=MEASURE)}", "", *_changed(result, words)]
    lines += ["", f"#### {words['versus'].format(measure=MEASURE)}", "", *_versus(result, words)]
    return [*lines, ""]


def _verdict(one: Change, words: dict[str, str]) -> str:
    judgement = "better" if one.difference > 0 else "worse"
    if one.wins == one.losses == 0:
        judgement = "identical"
    elif one.p_holm >= _ALPHA:
        judgement = "unclear"
    return words["verdict"].format(
        measure=one.measure,
        before=one.before,
        after=one.after,
        difference=one.difference,
        relative=_relative(one),
        low=one.low,
        high=one.high,
        p=p_text(one.p_holm),
        judgement=words[judgement],
    )


def _changes(changes: Iterable[Change], words: dict[str, str]) -> list[str]:
    heads = ("measure", "before", "after", "difference", "relative", "interval", "p", "p_holm", "wins")
    return _table([words[one] for one in heads], [[one.measure, *_cells(one)] for one in changes])


def _versus(result: SetResult, words: dict[str, str]) -> list[str]:
    heads = ("name", "before", "after", "difference", "relative", "interval", "p", "p_holm", "wins")
    titles = [words[one] for one in heads]
    titles[1] = MEASURE
    return _table(titles, [[_safe(name), *_cells(one)] for name, one in result.versus.items()])


def _cells(one: Change) -> list[str]:
    return [
        f"{one.before:.4f}",
        f"{one.after:.4f}",
        f"{one.difference:+.4f}",
        _relative(one),
        f"{one.low:+.4f} .. {one.high:+.4f}",
        p_text(one.p),
        p_text(one.p_holm),
        f"{one.wins} / {one.ties} / {one.losses}",
    ]


def _rows(rows: Iterable[Row], words: dict[str, str]) -> list[str]:
    heads = [words["name"], words["model"], words["kind"], *MEASURES]
    heads += [words[one] for one in ("pairs_per_second", "truncated", "aside")]
    return _table(
        heads,
        [
            [
                _safe(row.name),
                _safe(row.model),
                row.kind,
                *(f"{row.report.means[measure]:.4f}" for measure in MEASURES),
                "-" if row.pairs_per_second is None else f"{row.pairs_per_second:,.0f}",
                str(row.truncated),
                str(row.stepped_aside),
            ]
            for row in rows
        ],
    )


def _groups(result: SetResult, key: str, values: dict[str, list[str]], words: dict[str, str]) -> list[str]:
    body = []
    for value, queries in sorted(values.items()):
        means = group_means(result, queries)
        before, after = means[BEFORE], means[AFTER]
        body.append(
            [_safe(value), str(len(queries)), f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"]
        )
    return _table([_safe(key), *(words[one] for one in ("queries", "before", "after", "difference"))], body)


def _changed(result: SetResult, words: dict[str, str]) -> list[str]:
    before, after = (result.row(name).report.per_query[MEASURE] for name in (BEFORE, AFTER))
    body = [
        [
            f"{_safe(result.pooled.queries[query_id])} ({query_id})",
            f"{before[query_id]:.3f}",
            f"{after[query_id]:.3f}",
            f"{difference:+.3f}",
        ]
        for query_id, difference in result.most_changed()
    ]
    heads = [words[one] for one in ("query", "before", "after", "difference")]
    return _table(heads, body) if body else [words["identical"]]


def _facts(facts: dict[str, Any], words: dict[str, str]) -> list[str]:
    threads = facts["threads"] if isinstance(facts["threads"], int) else words["automatic"]
    return [
        f"{words['command']}: `{facts['command']}`",
        "",
        f"{words['commit']} {facts['commit']}, {facts['time']}, {words['seed']} {facts['seed']}, "
        f"{words['machine']}: {facts['processor']}, {facts['cores']} {words['cores']}, "
        f"{words['threads']}: {threads}",
    ]


def _relative(one: Change) -> str:
    return "-" if one.relative is None else f"{one.relative:+.1%}"


def _table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(cells) + " |" for cells in body]


def _safe(text: str) -> str:
    """One table cell: no line break, no bar."""
    return " ".join(text.split()).replace("|", "\\|")
