"""Tables on a PDF page: drawn by rules, or standing in columns without them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from indexing.readers.pdflayout import Line, join_lines, lines_of
from indexing.readers.pdfpage import Char, PageContent, Rule
from indexing.readers.tables import is_number, looks_like_header

_TOUCH = 3.0  # points by which rules may miss each other
_MAX_RULES = 3000
_MAX_PROSE_CHARS = 90


@dataclass(slots=True)
class Table:
    """Rows of cells; ``first`` is its place in the page's content, ``edges`` its columns' left ends."""

    rows: list[list[str]]
    first: int
    edges: list[float]
    ruled: bool = True

    @property
    def header_rows(self) -> int:
        """How many leading rows name the columns: no figures in them, and figures or text below."""
        count = 0
        for row in self.rows[:3]:
            if any(map(is_number, row)) or not any(row[1:]):
                break
            count += 1
        if count < len(self.rows) and any(is_number(cell) for row in self.rows[count:] for cell in row[1:]):
            return count
        if not self.ruled:  # words over words may be anything: options, a form, an address
            return 0
        second = self.rows[1] if len(self.rows) > 1 else None
        return 1 if looks_like_header(self.rows[0], second) else 0


def ruled_tables(content: PageContent) -> tuple[list[Table], list[Char]]:
    """Return the page's ruled tables, and the characters outside them.

    A table is a connected set of rules with at least two rows and columns.
    """
    tables: list[Table] = []
    chars = content.chars
    for ys, xs, vertical in _grids(content):
        inside, outside = _partition(chars, xs, ys)
        rows = _cells(inside, ys, xs, vertical)
        rows = [row for row in rows if any(row)]
        filled = sum(1 for row in rows if sum(map(bool, row)) > 1)
        if not inside or filled < 1 or len(rows) < 2:
            continue
        chars = outside
        tables.append(Table(rows, min(char.index for char in inside), xs[:-1]))
    return tables, chars


Grid = tuple[list[float], list[float], list[Rule]]


def _grids(content: PageContent) -> list[Grid]:
    """Connected rules as ``(ys ascending, xs ascending, vertical rules)``, from the top of the page."""
    across = _merged(content.horizontal)
    upright = _merged(content.vertical)
    if len(across) + len(upright) > _MAX_RULES or len(across) * len(upright) > 250_000:
        return []
    group = list(range(len(across) + len(upright)))

    def root(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    for i, flat in enumerate(across):
        for j, tall in enumerate(upright, start=len(across)):
            meets = (
                flat.low - _TOUCH <= tall.place <= flat.high + _TOUCH
                and tall.low - _TOUCH <= flat.place <= tall.high + _TOUCH
            )
            if meets:
                group[root(i)] = root(j)
    found: dict[int, tuple[list[Rule], list[Rule]]] = {}
    for i, flat in enumerate(across):
        found.setdefault(root(i), ([], []))[0].append(flat)
    for j, tall in enumerate(upright, start=len(across)):
        found.setdefault(root(j), ([], []))[1].append(tall)
    grids: list[Grid] = []
    for flats, talls in found.values():
        ys, xs = _places(flats), _places(talls)
        if len(ys) >= 2 and len(xs) >= 3:
            grids.append((ys, xs, talls))
    return sorted(grids, key=lambda grid: -grid[0][-1])


def _merged(rules: Sequence[Rule]) -> list[Rule]:
    """Rules on one place that touch, as one (cells draw their borders piece by piece)."""
    merged: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: (round(rule.place), rule.low)):
        last = merged[-1] if merged else None
        if last and abs(last.place - rule.place) <= 1.0 and rule.low <= last.high + _TOUCH:
            merged[-1] = Rule(last.place, last.low, max(last.high, rule.high))
        else:
            merged.append(rule)
    return merged


def _places(rules: Sequence[Rule]) -> list[float]:
    places: list[float] = []
    for place in sorted(rule.place for rule in rules):
        if not places or place - places[-1] > _TOUCH:
            places.append(place)
    return places


def _partition(chars: list[Char], xs: list[float], ys: list[float]) -> tuple[list[Char], list[Char]]:
    inside: list[Char] = []
    outside: list[Char] = []
    for char in chars:
        x, y = (char.left + char.right) / 2, (char.bottom + char.top) / 2
        within = xs[0] <= x <= xs[-1] and ys[0] <= y <= ys[-1]
        (inside if within else outside).append(char)
    return inside, outside


def _cells(chars: list[Char], ys: list[float], xs: list[float], vertical: list[Rule]) -> list[list[str]]:
    """Text by row (from the top) and column; cells with no rule between them are one, on the left."""
    rows, columns = len(ys) - 1, len(xs) - 1
    owner = [_owners(xs, (ys[row] + ys[row + 1]) / 2, vertical) for row in range(rows)]
    cells: list[list[list[Char]]] = [[[] for _ in range(columns)] for _ in range(rows)]
    for char in chars:
        row = min(rows - 1, max(0, bisect_right(ys, (char.bottom + char.top) / 2) - 1))
        column = min(columns - 1, max(0, bisect_right(xs, (char.left + char.right) / 2) - 1))
        cells[row][owner[row][column]].append(char)
    found: list[list[str]] = []
    for line, place in zip(reversed(cells), reversed(owner), strict=True):
        for row_cells in _split_unruled(line):
            texts = [join_lines([text.text for text in cell]) for cell in row_cells]
            # A spanning cell is said in each of its columns: as a header it names them all.
            found.append([texts[place[column]] for column in range(columns)])
    return found


def _owners(xs: list[float], y: float, vertical: list[Rule]) -> list[int]:
    owners = [0]
    for column in range(1, len(xs) - 1):
        ruled = any(
            abs(rule.place - xs[column]) <= _TOUCH and rule.low - _TOUCH <= y <= rule.high + _TOUCH
            for rule in vertical
        )
        owners.append(column if ruled else owners[-1])
    return owners


def _split_unruled(cells: list[list[Char]]) -> list[list[list[Line]]]:
    """One ruled row as the printed rows in it, when only its columns are ruled.

    At least two columns, each with the same three or more lines at the same heights.
    """
    lines = [lines_of(cell) for cell in cells]
    counts = {len(column) for column in lines if column}
    if len(counts) != 1 or (count := counts.pop()) < 3 or sum(map(bool, lines)) < 2:
        return [lines]
    for number in range(count):
        bottoms = [column[number].bottom for column in lines if column]
        if max(bottoms) - min(bottoms) > _TOUCH:
            return [lines]
    return [[column[number : number + 1] for column in lines] for number in range(count)]


def aligned_tables(lines: Sequence[Line]) -> tuple[list[Table], list[Line]]:
    """Return the tables that stand in columns without rules, and the lines outside them.

    A table is a run of lines with wide gaps that form the same columns: at
    least three, or two with figures in them.
    """
    tables: list[Table] = []
    rest: list[Line] = []
    index = 0
    while index < len(lines):
        end = _run_end(lines, index)
        table = _aligned(lines[index:end]) if end - index >= 2 else None
        if table is None:
            end = max(end, index + 1)
            rest.extend(lines[index:end])
        else:
            tables.append(table)
        index = end
    return tables, rest


def _run_end(lines: Sequence[Line], start: int) -> int:
    """Where the run of row-like lines that begins at ``start`` ends."""
    end = start
    last_row = start
    while end < len(lines):
        line = lines[end]
        if end > start:
            leading = lines[end - 1].bottom - line.bottom
            if not 0 < leading <= 3 * line.size:
                break
        if line.columns >= 2:
            last_row = end + 1
        elif end - last_row >= 1 or end == start:  # one label line may stand between rows
            break
        end += 1
    return last_row


def _aligned(lines: Sequence[Line]) -> Table | None:
    rows = [line for line in lines if line.columns >= 2]
    widest = max(line.columns for line in rows)
    edges = _columns([line for line in rows if line.columns == widest])
    if len(edges) < 2:
        return None
    cells = [_place(line, edges) for line in lines]
    values = [cell for row in cells for cell in row if cell]
    figures = sum(map(is_number, values))
    if len(rows) < 3 and (len(rows) < 2 or figures < 2):
        return None
    if sum(map(len, values)) > _MAX_PROSE_CHARS * len(values) / 2 and figures < len(values) / 4:
        return None  # columns of prose
    return Table(cells, lines[0].first, [left for left, _ in edges], False)


def _columns(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Overlapping segments of all rows, merged into columns from left to right."""
    columns: list[tuple[float, float]] = []
    for segment in sorted((segment for line in lines for segment in line.segments), key=lambda one: one.left):
        if columns and segment.left <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], segment.right))
        else:
            columns.append((segment.left, segment.right))
    return columns


def _place(line: Line, edges: Sequence[tuple[float, float]]) -> list[str]:
    """A line's cells by column; a segment over several columns stands in each."""
    row = [""] * len(edges)
    for segment in line.segments:
        over = [
            number
            for number, (left, right) in enumerate(edges)
            if min(right, segment.right) - max(left, segment.left)
            > 0.3 * min(right - left, segment.right - segment.left)
        ]
        if not over:
            middle = (segment.left + segment.right) / 2
            over = [min(range(len(edges)), key=lambda n: abs((edges[n][0] + edges[n][1]) / 2 - middle))]
        if over[0] == 0:
            over = over[:1]  # a long label runs over the figures' columns: it names none of them
        for number in over:
            row[number] = f"{row[number]} {segment.text}".strip()
    return row
