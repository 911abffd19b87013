"""``report.svg``: the rows' means, and every query's change from worst to best."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from benchmarks.evaluate.labels import LABELS, Language
from benchmarks.evaluate.measure import MEASURES
from benchmarks.evaluate.result import AFTER, BEFORE, MEASURE, SetResult
from indexing.errors import MissingDependencyError

_BETTER, _WORSE = "#2b7a5b", "#b4452f"
_SHADES = ("#9aa5b1", "#52748f", "#2b7a5b", "#c28b37", "#7d5a8c", "#4b4b4b")
# Text stays text in the file, so the reader's own fonts draw Chinese.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "winnow",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(result: SetResult, path: Path, lang: Language) -> None:
    """Write the plot of one set.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "bench", "drawing the report") from error
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _means(left, result, LABELS[lang])
        _changes(right, result, LABELS[lang])
        with warnings.catch_warnings():
            # It measures text in a font that may lack Chinese; the file names the font and holds the text.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(path, format="svg", metadata={"Date": None, "Title": result.pooled.name})


def _means(axes: Any, result: SetResult, words: dict[str, str]) -> None:
    width = 0.8 / len(result.rows)
    for place, row in enumerate(result.rows):
        means = [row.report.means[measure] for measure in MEASURES]
        at = [spot + (place - (len(result.rows) - 1) / 2) * width for spot in range(len(MEASURES))]
        label = f"{words[row.name]}: {row.model}" if row.name in (BEFORE, AFTER) else row.name
        bars = axes.bar(at, means, width * 0.95, color=_SHADES[place % len(_SHADES)], label=label)
        axes.bar_label(bars, fmt="%.3f", fontsize=7, padding=1)
    axes.set_xticks(range(len(MEASURES)), MEASURES)
    axes.set_ylim(0, 1.05)
    axes.set_title(words["plot_rows"].format(count=len(result.pooled.queries)), fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)


def _changes(axes: Any, result: SetResult, words: dict[str, str]) -> None:
    values = sorted(result.change(MEASURE).differences.values())
    axes.bar(range(len(values)), values, 1.0, color=[_BETTER if one > 0 else _WORSE for one in values])
    axes.axhline(0, color="#333333", linewidth=0.8)
    axes.set_xticks([])
    axes.set_ylim(-1.05, 1.05)
    axes.set_title(words["plot_queries"].format(measure=MEASURE), fontsize=10)
